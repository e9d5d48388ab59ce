#pragma once

// The options of a GGUF file's model, by keys that begin with its architecture. Not for other keys.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "format/gguf.h"
#include "format/printable.h"

namespace kvasir::format {

// The keys of an architecture, llama.block_count and so on. It remembers which were asked for.
class GgufFields {
 public:
  GgufFields(const GgufMetadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  bool has(std::string_view name) { return metadata_.has(key(name)); }

  Result<std::int64_t> count(std::string_view name, std::optional<std::int64_t> fallback = std::nullopt) {
    return metadata_.integer(key(name), 0, kMaxCount, fallback);
  }

  // One number for all layers. Also an array that has the same one for each.
  Result<std::int64_t> count_of_all_layers(std::string_view name,
                                           std::optional<std::int64_t> fallback = std::nullopt) {
    if (!metadata_.has_array(key(name))) return count(name, fallback);
    KVASIR_ASSIGN_OR_RETURN(const auto numbers, metadata_.numbers(key(name)));
    const bool is_one = !numbers.empty() && std::equal(numbers.begin() + 1, numbers.end(), numbers.begin());
    if (!is_one || numbers[0] < 0 || numbers[0] > kMaxCount) {
      return error(StatusCode::kUnsupported, "{}: key '{}': supported is the same count for all layers",
                   metadata_.file(), key(name));
    }
    return static_cast<std::int64_t>(numbers[0]);
  }

  // A number that is stored in f32, with the digits that it was written with: 1e-5, not 9.99999974e-06.
  Result<double> number(std::string_view name, std::optional<double> fallback = std::nullopt) {
    KVASIR_ASSIGN_OR_RETURN(const double value, metadata_.number(key(name), fallback));
    const auto single = static_cast<float>(value);
    return value == static_cast<double>(single) ? std::stod(fmt::format("{}", single)) : value;
  }

  bool has_array(std::string_view name) { return metadata_.has_array(key(name)); }

  // An array of numbers or booleans, one for each layer.
  Result<std::vector<double>> each_layer(std::string_view name, std::int64_t num_layers) {
    KVASIR_ASSIGN_OR_RETURN(std::vector<double> numbers, metadata_.numbers(key(name)));
    if (static_cast<std::int64_t>(numbers.size()) == num_layers) return numbers;
    return error(StatusCode::kCorrupt, "{}: key '{}': has {} elements, expected one for each of {} layers",
                 metadata_.file(), key(name), numbers.size(), num_layers);
  }

  Result<std::string_view> text(std::string_view name, std::string_view fallback) {
    return metadata_.text(key(name), fallback);
  }

  Result<bool> boolean(std::string_view name, bool fallback) {
    return metadata_.boolean(key(name), fallback);
  }

  void ignore(std::string_view name) { static_cast<void>(key(name)); }

  // Whether all keys of the architecture have been asked for.
  Status check_all_read() const {
    for (const auto& [each, value] : metadata_.values()) {
      if (!each.starts_with(prefix_) || read_.contains(std::string(each))) continue;
      return error(StatusCode::kUnsupported, "{}: key '{}': this option is not known", metadata_.file(),
                   printable(each));
    }
    return Status();
  }

  const GgufMetadata& metadata() const { return metadata_; }

  // The whole name, which has been asked for with that.
  std::string key(std::string_view name) {
    std::string result = prefix_ + std::string(name);
    read_.insert(result);
    return result;
  }

 private:
  static constexpr std::int64_t kMaxCount = 1 << 30;

  const GgufMetadata& metadata_;
  std::string prefix_;
  std::set<std::string> read_;
};

}  // namespace kvasir::format
