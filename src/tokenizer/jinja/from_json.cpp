#include <nlohmann/json.hpp>
#include <vector>

#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/operators.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

using Json = nlohmann::ordered_json;

Result<Value> text_of(Runtime& runtime, const std::string& text) {
  KVASIR_RETURN_IF_ERROR(runtime.spend_text(text.size()));
  if (text.size() > UINT32_MAX) return failure("a string of {} bytes is too long", text.size());
  return is_valid_utf8(text) ? borrow_text(text) : runtime.text(to_valid_utf8(text));
}

Result<Value> convert(Runtime& runtime, const Json& json, int depth) {
  KVASIR_RETURN_IF_ERROR(runtime.spend(1));
  if (depth > kMaxValueDepth) return failure("values inside each other more than {} times", kMaxValueDepth);
  switch (json.type()) {
    case Json::value_t::boolean:
      return make_bool(json.get<bool>());
    case Json::value_t::number_integer:
      return make_int(json.get<std::int64_t>());
    case Json::value_t::number_unsigned:
      return runtime.integer(json.get<std::uint64_t>());
    case Json::value_t::number_float:
      return make_float(json.get<double>());
    case Json::value_t::string:
      return text_of(runtime, json.get_ref<const std::string&>());
    case Json::value_t::array: {
      KVASIR_ASSIGN_OR_RETURN(const std::span<Value> items, runtime.items(json.size()));
      for (std::size_t i = 0; i < items.size(); ++i) {
        KVASIR_ASSIGN_OR_RETURN(items[i], convert(runtime, json[i], depth + 1));
      }
      return borrow_items(Type::kList, items);
    }
    case Json::value_t::object: {
      std::vector<Entry> entries;
      entries.reserve(json.size());
      for (const auto& [key, value] : json.get_ref<const Json::object_t&>()) {
        Entry entry;
        KVASIR_ASSIGN_OR_RETURN(entry.key, text_of(runtime, key));
        KVASIR_ASSIGN_OR_RETURN(entry.value, convert(runtime, value, depth + 1));
        entries.push_back(entry);
      }
      return runtime.dict(entries);
    }
    default:
      return make_none();
  }
}

}  // namespace

Result<Value> from_json(Runtime& runtime, const Json& json) {
  return convert(runtime, json, 0);
}

}  // namespace kvasir::tokenizer::jinja
