#include "model/config_reader.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace kvasir::model {
namespace {

using nlohmann::json;

bool is_integer(const json& value, std::int64_t least, std::int64_t most) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) return false;
  return value.get<std::int64_t>() >= least && value.get<std::int64_t>() <= most;
}

bool is_number(const json& value, double least, double most) {
  return value.is_number() && value.get<double>() >= least && value.get<double>() <= most;
}

}  // namespace

bool ConfigReader::has(std::string_view key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

bool ConfigReader::is_null(std::string_view key) const {
  const auto found = object_.find(key);
  return found != object_.end() && found->is_null();
}

const json* ConfigReader::find(const char* key) {
  known_.emplace(key);
  return has(key) ? &object_[key] : nullptr;
}

std::string ConfigReader::show(std::string_view key) const {
  if (!has(key)) return "none";
  return object_.find(key)->dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80);
}

void ConfigReader::keep(const Status& status) {
  if (status_.ok()) status_ = status;
}

void ConfigReader::wrong(const char* key, std::string_view expected) {
  keep(error(StatusCode::kCorrupt, "{}: {}: expected {}, got {}", where_, key, expected, show(key)));
}

void ConfigReader::unsupported(const char* key, std::string_view supported) {
  keep(error(StatusCode::kUnsupported, "{}: {}: supported is {}, got {}", where_, key, supported, show(key)));
}

int ConfigReader::integer(const char* key, int least, int most, std::optional<int> otherwise) {
  const json* value = find(key);
  if (value == nullptr && otherwise) return *otherwise;
  if (value != nullptr && is_integer(*value, least, most)) return value->get<int>();
  wrong(key, fmt::format("an integer from {} to {}", least, most));
  return otherwise.value_or(least);
}

double ConfigReader::number(const char* key, double least, double most, std::optional<double> otherwise) {
  const json* value = find(key);
  if (value == nullptr && otherwise) return *otherwise;
  if (value != nullptr && is_number(*value, least, most)) return value->get<double>();
  wrong(key, fmt::format("a number from {} to {}", least, most));
  return otherwise.value_or(least);
}

bool ConfigReader::flag(const char* key, bool otherwise) {
  const json* value = find(key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean()) {
    wrong(key, "true or false");
    return otherwise;
  }
  return value->get<bool>();
}

std::string ConfigReader::text(const char* key, std::string_view otherwise) {
  const json* value = find(key);
  if (value != nullptr && value->is_string()) return value->get<std::string>();
  if (value != nullptr) wrong(key, "text");
  return std::string(otherwise);
}

std::vector<double> ConfigReader::numbers(const char* key, std::size_t count, double least, double most) {
  std::vector<double> numbers;
  const json* value = find(key);
  if (value == nullptr) return numbers;
  const auto fits = [&](const json& element) { return is_number(element, least, most); };
  if (!value->is_array() || value->size() != count || !std::all_of(value->begin(), value->end(), fits)) {
    wrong(key, fmt::format("a list of {} numbers from {} to {}", count, least, most));
    return numbers;
  }
  for (const json& element : *value) numbers.push_back(element.get<double>());
  return numbers;
}

std::vector<int> ConfigReader::integers(const char* key, int least, int most) {
  constexpr std::size_t kMaxIntegers = 4096;
  std::vector<int> integers;
  const json* value = find(key);
  if (value == nullptr) return integers;
  const auto fits = [&](const json& element) { return is_integer(element, least, most); };
  if (!value->is_array() || value->size() > kMaxIntegers ||
      !std::all_of(value->begin(), value->end(), fits)) {
    wrong(key, fmt::format("a list of integers from {} to {}", least, most));
    return integers;
  }
  for (const json& element : *value) integers.push_back(element.get<int>());
  return integers;
}

std::vector<std::string> ConfigReader::texts(const char* key, std::size_t count) {
  std::vector<std::string> texts;
  const json* value = find(key);
  if (value == nullptr) return texts;
  const auto fits = [](const json& element) { return element.is_string(); };
  if (!value->is_array() || value->size() != count || !std::all_of(value->begin(), value->end(), fits)) {
    wrong(key, fmt::format("a list of {} texts", count));
    return texts;
  }
  for (const json& element : *value) texts.push_back(element.get<std::string>());
  return texts;
}

void ConfigReader::tokens(const char* key, int vocab_size, std::vector<TokenId>& out) {
  constexpr std::size_t kMaxTokens = 1000;
  const json* value = find(key);
  if (value == nullptr) return;
  const json list = value->is_array() ? *value : json::array({*value});
  const auto fits = [&](const json& id) { return is_integer(id, 0, vocab_size - 1); };
  if (list.size() > kMaxTokens || !std::all_of(list.begin(), list.end(), fits)) {
    return wrong(key, fmt::format("at most {} token ids below {}", kMaxTokens, vocab_size));
  }
  for (const json& id : list) {
    const auto token = id.get<TokenId>();
    if (std::find(out.begin(), out.end(), token) == out.end()) out.push_back(token);
  }
}

const json* ConfigReader::object(const char* key) {
  const json* value = find(key);
  if (value == nullptr || value->is_object()) return value;
  wrong(key, "an object");
  return nullptr;
}

void ConfigReader::ignore(std::span<const char* const> keys) {
  for (const char* key : keys) known_.emplace(key);
}

void ConfigReader::expect_flag(const char* key, bool value) {
  const json* got = find(key);
  if (got != nullptr && *got != value) unsupported(key, value ? "true" : "false");
}

void ConfigReader::expect(const char* key, double value) {
  const json* got = find(key);
  if (got != nullptr && !is_number(*got, value, value)) unsupported(key, fmt::format("{}", value));
}

void ConfigReader::expect(const char* key, std::string_view value) {
  const json* got = find(key);
  if (got != nullptr && *got != value) unsupported(key, value);
}

Status ConfigReader::finish() const {
  if (!status_.ok()) return status_;
  for (const auto& [key, value] : object_.items()) {
    if (value.empty() || known_.contains(key)) continue;
    return error(StatusCode::kUnsupported,
                 "{}: {}: an option that is not known for this model, with the value {}", where_,
                 json(key.substr(0, 80)).dump(-1, ' ', true, json::error_handler_t::replace), show(key));
  }
  return Status();
}

}  // namespace kvasir::model
