#pragma once

// Reads one JSON object of a model's configuration and keeps account of its keys: what nobody asked for is
// refused by finish(), so that no option is silently ignored (an empty list or object says nothing and may
// stay). A key that is null counts as missing. The first error is kept, and values asked for after it are
// defaults; finish() returns it.

#include <concepts>
#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvasir::model {

class ConfigReader {
 public:
  // where: the file, and what in it, for messages. Both must outlive the reader.
  ConfigReader(std::string where, const nlohmann::json& object) : where_(std::move(where)), object_(object) {}

  const std::string& where() const { return where_; }
  bool has(std::string_view key) const;
  bool is_null(std::string_view key) const;

  // Values of a type and a range. Without `otherwise` a missing key is an error.
  int integer(const char* key, int least, int most, std::optional<int> otherwise = std::nullopt);
  double number(const char* key, double least, double most, std::optional<double> otherwise = std::nullopt);
  bool flag(const char* key, bool otherwise);
  std::string text(const char* key, std::string_view otherwise);
  // Exactly `count` elements, or none where the key is missing.
  std::vector<double> numbers(const char* key, std::size_t count, double least, double most);
  // At most 4096 of them, or none where the key is missing.
  std::vector<int> integers(const char* key, int least, int most);
  std::vector<std::string> texts(const char* key, std::size_t count);
  // A token id or a list of at most 1000, below vocab_size; added to `out` where they are new.
  void tokens(const char* key, int vocab_size, std::vector<TokenId>& out);
  // A nested object; null where the key is missing or its value is none, which is an error.
  const nlohmann::json* object(const char* key);

  // Says that these keys, if there, change nothing.
  void ignore(std::span<const char* const> keys);

  // The key's value must be this one, or missing: we have no other.
  // Of bools only what is one: a literal would rather be a bool than a string_view.
  void expect(const char* key, std::same_as<bool> auto value) { expect_flag(key, value); }
  void expect(const char* key, double value);
  void expect(const char* key, std::string_view value);

  // Keeps an error about a key: kCorrupt, "where: key: expected EXPECTED, got VALUE".
  void wrong(const char* key, std::string_view expected);
  // Keeps an error about a key: kUnsupported, "where: key: supported is SUPPORTED, got VALUE".
  void unsupported(const char* key, std::string_view supported);
  // Keeps an error that was found elsewhere.
  void keep(const Status& status);

  bool ok() const { return status_.ok(); }
  // The first error, or kUnsupported naming a key that was never asked for.
  Status finish() const;

 private:
  void expect_flag(const char* key, bool value);
  const nlohmann::json* find(const char* key);
  std::string show(std::string_view key) const;

  std::string where_;
  const nlohmann::json& object_;
  std::set<std::string, std::less<>> known_;
  Status status_;
};

}  // namespace kvasir::model
