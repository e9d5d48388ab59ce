#pragma once

// A value of tokenizer.json together with its place, for messages that name both.

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/status.h"

namespace kvasir::tokenizer {

class JsonNode {
 public:
  // `value` must outlive the node.
  JsonNode(std::string where, const nlohmann::json& value) : where_(std::move(where)), value_(&value) {}

  const std::string& where() const { return where_; }
  const nlohmann::json& value() const { return *value_; }

  // Whether this is an object with the key, and its value is not null.
  bool has(const char* key) const {
    const auto found = value_->find(key);
    return value_->is_object() && found != value_->end() && !found->is_null();
  }
  // Requires: has(key).
  JsonNode at(const char* key) const { return {where_ + "." + key, (*value_)[key]}; }
  JsonNode at(std::size_t i) const { return {where_ + "[" + std::to_string(i) + "]", (*value_)[i]}; }

  // The value under the key as a T; `fallback`, where there is one, when it is missing or null.
  // Errors: kCorrupt for a missing key without a fallback, and for another type.
  Result<std::string> text(const char* key, std::optional<std::string> fallback = std::nullopt) const {
    return get<std::string>(key, std::move(fallback), "a string", &nlohmann::json::is_string);
  }
  Result<bool> boolean(const char* key, std::optional<bool> fallback = std::nullopt) const {
    return get<bool>(key, fallback, "true or false", &nlohmann::json::is_boolean);
  }
  // From 0 to 2^31 - 1.
  Result<int> count(const char* key, std::optional<int> fallback = std::nullopt) const {
    KVASIR_ASSIGN_OR_RETURN(
        const std::uint64_t value,
        get<std::uint64_t>(key, fallback, "a count", &nlohmann::json::is_number_unsigned));
    if (value > INT32_MAX) return corrupt("a count below 2^31", key);
    return static_cast<int>(value);
  }
  Result<JsonNode> array(const char* key) const {
    if (!has(key) || !(*value_)[key].is_array()) return corrupt("an array", key);
    return at(key);
  }
  Result<JsonNode> object(const char* key) const {
    if (!has(key) || !(*value_)[key].is_object()) return corrupt("an object", key);
    return at(key);
  }

  // read(element), which gives a Result, of all elements of the array under the key.
  template <typename Read>
  auto each(const char* key, const Read& read) const
      -> Result<std::vector<std::decay_t<decltype(*read(*this))>>> {
    KVASIR_ASSIGN_OR_RETURN(const JsonNode list, array(key));
    std::vector<std::decay_t<decltype(*read(*this))>> elements;
    for (std::size_t i = 0; i < list.value().size(); ++i) {
      KVASIR_ASSIGN_OR_RETURN(auto element, read(list.at(i)));
      elements.push_back(std::move(element));
    }
    return elements;
  }

  // "tokenizer.json: model.vocab: expected <expected>, got <type>"
  Status corrupt(std::string_view expected, const char* key = nullptr) const {
    const bool missing = key != nullptr && !has(key);
    const nlohmann::json& value = key == nullptr || missing ? *value_ : (*value_)[key];
    return error(StatusCode::kCorrupt, "{}{}{}: expected {}, got {}", where_, key == nullptr ? "" : ".",
                 key == nullptr ? "" : key, expected, missing ? "nothing" : value.type_name());
  }
  Status unsupported(std::string_view kind, std::string_view name) const {
    return error(StatusCode::kUnsupported, "{}: {} '{}' is not supported", where_, kind, name.substr(0, 60));
  }

 private:
  template <typename T>
  Result<T> get(const char* key, std::optional<T> fallback, std::string_view expected,
                bool (nlohmann::json::*is)() const noexcept) const {
    if (!has(key) && fallback) return *std::move(fallback);
    if (!has(key) || !((*value_)[key].*is)()) return corrupt(expected, key);
    return (*value_)[key].template get<T>();
  }

  std::string where_;
  const nlohmann::json* value_;
};

}  // namespace kvasir::tokenizer
