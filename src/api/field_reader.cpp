#include "api/field_reader.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

namespace kvasir::api {

using nlohmann::ordered_json;

std::string show(const ordered_json& value) {
  constexpr std::size_t kMaxBytes = 80;
  // A long value is not written out only to be cut.
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return ordered_json(text.substr(0, kMaxBytes))
        .dump(-1, ' ', true, ordered_json::error_handler_t::replace);
  }
  if (value.is_structured()) return value.type_name();
  return value.dump();
}

ordered_json member(const ordered_json& value, const char* key, ordered_json otherwise) {
  if (!value.is_object()) return otherwise;
  const auto found = value.find(key);
  return found == value.end() || found->is_null() ? std::move(otherwise) : *found;
}

FieldReader::FieldReader(const ordered_json& object, std::string path)
    : object_(object), path_(std::move(path)) {}

bool FieldReader::has(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

const ordered_json* FieldReader::take(const char* key) {
  known_.emplace_back(key);
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

void FieldReader::read(const char* key, std::string& out, std::size_t max_bytes) {
  const ordered_json* value = take(key);
  if (value == nullptr) return;
  if (!value->is_string()) return refuse(key, fmt::format("expected a string, got {}", show(*value)));
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > max_bytes) {
    return refuse(key, fmt::format("expected at most {} bytes, got {}", max_bytes, text.size()));
  }
  out = text;
}

void FieldReader::read(const char* key, bool& out) {
  const ordered_json* value = take(key);
  if (value == nullptr) return;
  if (!value->is_boolean()) return refuse(key, fmt::format("expected true or false, got {}", show(*value)));
  out = value->get<bool>();
}

void FieldReader::read(const char* key, int& out, std::int64_t least, std::int64_t most) {
  std::optional<int> read_out;
  read(key, read_out, least, most);
  if (read_out) out = *read_out;
}

void FieldReader::read(const char* key, std::optional<int>& out, std::int64_t least, std::int64_t most) {
  const ordered_json* value = take(key);
  if (value == nullptr) return;
  const bool is_huge =
      value->is_number_unsigned() &&
      value->get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<int>::max());
  if (!value->is_number_integer() || is_huge || value->get<std::int64_t>() < least ||
      value->get<std::int64_t>() > most) {
    return refuse(key, fmt::format("expected an integer from {} to {}, got {}", least, most, show(*value)));
  }
  out = value->get<int>();
}

void FieldReader::read(const char* key, float& out, double least, double most) {
  const ordered_json* value = take(key);
  if (value == nullptr) return;
  if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most)) {
    return refuse(key, fmt::format("expected a number from {} to {}, got {}", least, most, show(*value)));
  }
  out = value->get<float>();
}

void FieldReader::read_seed(const char* key, std::optional<std::uint64_t>& out) {
  const ordered_json* value = take(key);
  if (value == nullptr) return;
  if (!value->is_number_integer()) {
    return refuse(key, fmt::format("expected an integer of 64 bits, got {}", show(*value)));
  }
  out = value->is_number_unsigned() ? value->get<std::uint64_t>()
                                    : static_cast<std::uint64_t>(value->get<std::int64_t>());
}

void FieldReader::read_strings(const char* key, std::vector<std::string>& out, std::size_t max_count,
                               std::size_t max_bytes) {
  const ordered_json* value = take(key);
  if (value == nullptr) return;
  const ordered_json list = value->is_array() ? *value : ordered_json::array({*value});
  if (list.size() > max_count) {
    return refuse(key, fmt::format("expected at most {} strings, got {}", max_count, list.size()));
  }
  for (const ordered_json& each : list) {
    if (!each.is_string() || each.get_ref<const std::string&>().empty() ||
        each.get_ref<const std::string&>().size() > max_bytes) {
      return refuse(key, fmt::format("expected strings of 1 to {} bytes, got {}", max_bytes, show(each)));
    }
    out.push_back(each.get<std::string>());
  }
}

void FieldReader::read_ids(const char* key, std::vector<TokenId>& out, std::size_t max_count,
                           int vocab_size) {
  const ordered_json* value = take(key);
  if (value == nullptr) return;
  if (!value->is_array() || value->size() > max_count) {
    return refuse(key, fmt::format("expected a list of at most {} token ids, got {}", max_count,
                                   value->is_array() ? std::to_string(value->size()) : show(*value)));
  }
  for (const ordered_json& id : *value) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= static_cast<std::uint64_t>(vocab_size)) {
      return refuse(key, fmt::format("expected token ids from 0 to {}, got {}", vocab_size - 1, show(id)));
    }
    out.push_back(id.get<TokenId>());
  }
}

void FieldReader::require(const char* key) {
  if (!has(key)) refuse(key, "is required");
}

void FieldReader::accept(std::initializer_list<const char*> keys) {
  known_.insert(known_.end(), keys.begin(), keys.end());
}

void FieldReader::only(const char* key, const ordered_json& value, std::string_view why) {
  const ordered_json* given = take(key);
  if (given != nullptr && *given != value) {
    refuse(key, fmt::format("only {} is supported: {}", value.dump(), why));
  }
}

void FieldReader::refuse(const std::string& key, std::string_view why) {
  if (refusal_) return;
  const std::string name = path_ + key;
  refusal_ = Refusal{error(StatusCode::kInvalidArgument, "{}: {}", name, why), name};
}

void FieldReader::refuse(Refusal refusal) {
  if (!refusal_) refusal_ = std::move(refusal);
}

void FieldReader::refuse(const FieldReader& nested) {
  if (nested.refusal_) refuse(*nested.refusal_);
}

void FieldReader::refuse_unknown() {
  constexpr std::size_t kMaxNameBytes = 100;
  for (const auto& [key, value] : object_.items()) {
    if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
      return refuse(key.substr(0, kMaxNameBytes), "there is no such field");
    }
  }
}

}  // namespace kvasir::api
