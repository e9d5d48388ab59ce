#pragma once

// The fields of a JSON object from outside, one after the other: each is checked for type and range, what is
// wrong first is kept as the refusal, and a field that nobody has read is refused by name. A field that is
// null counts as absent. No effect on the object, which must outlive the reader.

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/refusal.h"
#include "base/ids.h"

namespace kvasir::api {

class FieldReader {
 public:
  // `path` names the object in messages, as in "stream_options."; "" for the body itself. Requires: an
  // object.
  explicit FieldReader(const nlohmann::ordered_json& object, std::string path = "");

  bool has(const char* key) const;
  // The value, to be checked by the caller; null when it is absent.
  const nlohmann::ordered_json* take(const char* key);

  // Each leaves `out` as it is when the field is absent or wrong.
  void read(const char* key, std::string& out, std::size_t max_bytes);
  void read(const char* key, bool& out);
  void read(const char* key, int& out, std::int64_t least, std::int64_t most);
  void read(const char* key, std::optional<int>& out, std::int64_t least, std::int64_t most);
  void read(const char* key, float& out, double least, double most);
  // Any 64-bit integer, signed or not.
  void read_seed(const char* key, std::optional<std::uint64_t>& out);
  // A string or a list of them, none empty.
  void read_strings(const char* key, std::vector<std::string>& out, std::size_t max_count,
                    std::size_t max_bytes);
  // A list of token ids below `vocab_size`.
  void read_ids(const char* key, std::vector<TokenId>& out, std::size_t max_count, int vocab_size);

  void require(const char* key);
  // Fields that other servers know and that change nothing in a reply of ours.
  void accept(std::initializer_list<const char*> keys);
  // A field that has only one value that we can honour.
  void only(const char* key, const nlohmann::ordered_json& value, std::string_view why);

  void refuse(const std::string& key, std::string_view why);
  void refuse(Refusal refusal);
  // Takes over what a reader of a nested object found.
  void refuse(const FieldReader& nested);
  // Requires: every field that may occur has been read.
  void refuse_unknown();

  const std::optional<Refusal>& refusal() const { return refusal_; }

 private:
  const nlohmann::ordered_json& object_;
  const std::string path_;
  std::vector<std::string_view> known_;
  std::optional<Refusal> refusal_;
};

// The value's member `key`; `otherwise` when it has none or null, or is no object.
nlohmann::ordered_json member(const nlohmann::ordered_json& value, const char* key,
                              nlohmann::ordered_json otherwise = nullptr);

// The value as text for a message, cut short.
std::string show(const nlohmann::ordered_json& value);

}  // namespace kvasir::api
