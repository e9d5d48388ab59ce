#include "grammar/json_schema_merge.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

namespace kvasir::grammar {
namespace {

constexpr int kMaxDepth = 32;
// Values copied by all merges of a schema together.
constexpr std::size_t kMaxSteps = 200'000;
// Comparing the elements of two lists is so much cheaper than copying one.
constexpr std::size_t kPairsPerStep = 32;

std::size_t count_values(const Json& value) {
  std::size_t count = 1;
  if (value.is_structured()) {
    for (const Json& each : value) count += count_values(each);
  }
  return count;
}

Json without(Json schema, const char* keyword) {
  schema.erase(keyword);
  return schema;
}

std::optional<std::string> unescape(std::string_view token) {
  std::string text;
  for (std::size_t i = 0; i < token.size(); ++i) {
    if (token[i] == '~') {
      if (++i == token.size() || (token[i] != '0' && token[i] != '1')) return std::nullopt;
      text += token[i] == '0' ? '~' : '/';
    } else if (token[i] == '%') {
      int value = 0;
      for (int digit = 0; digit < 2; ++digit) {
        if (++i == token.size() || std::isxdigit(static_cast<unsigned char>(token[i])) == 0)
          return std::nullopt;
        value = value * 16 + std::stoi(std::string(1, token[i]), nullptr, 16);
      }
      text += static_cast<char>(value);
    } else {
      text += token[i];
    }
  }
  return text;
}

bool is_required(const Json& schema, const std::string& name) {
  const auto required = schema.find("required");
  return required != schema.end() &&
         std::find(required->begin(), required->end(), Json(name)) != required->end();
}

// Which of two bounds is the narrower one; anything when they are no numbers, which the compiler will refuse.
const Json& larger(const Json& a, const Json& b) {
  return a < b ? b : a;
}
const Json& smaller(const Json& a, const Json& b) {
  return b < a ? b : a;
}

Json merge_types(const Json& a, const Json& b) {
  const std::set<std::string> first = types_of(Json::object({{"type", a}})),
                              second = types_of(Json::object({{"type", b}}));
  Json both = Json::array();
  for (const std::string& type : first) {
    const bool is_implied = type == "integer" && first.contains("number") && second.contains("number");
    if (second.contains(type) && !is_implied) both.push_back(type);
  }
  return both;
}

Json merge_lists(const Json& a, const Json& b, bool all) {
  Json result = Json::array();
  for (const Json& each : a) {
    if (all || std::find(b.begin(), b.end(), each) != b.end()) result.push_back(each);
  }
  for (const Json& each : b) {
    if (all && std::find(a.begin(), a.end(), each) == a.end()) result.push_back(each);
  }
  return result;
}

}  // namespace

std::optional<std::vector<Json>> constants_of(const Json& schema) {
  const auto constant = schema.find("const"), list = schema.find("enum");
  if (constant == schema.end() && (list == schema.end() || !list->is_array())) return std::nullopt;
  if (constant == schema.end()) return std::vector<Json>(list->begin(), list->end());
  const bool is_listed =
      list == schema.end() || std::find(list->begin(), list->end(), *constant) != list->end();
  return is_listed ? std::vector<Json>{*constant} : std::vector<Json>{};
}

std::set<std::string> types_of(const Json& schema) {
  static const std::vector<std::pair<std::string, std::vector<const char*>>> kKeywords = {
      {"object", {"properties", "required", "additionalProperties", "minProperties", "maxProperties"}},
      {"array", {"items", "prefixItems", "additionalItems", "minItems", "maxItems"}},
      {"string", {"minLength", "maxLength", "pattern", "format"}},
      {"number", {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}}};
  std::set<std::string> types;
  if (schema.contains("type")) {
    const Json& type = schema["type"];
    for (const Json& each : type.is_array() ? type : Json::array({type})) {
      if (each.is_string()) types.insert(each.get<std::string>());
    }
    if (types.contains("number")) types.insert("integer");
    return types;
  }
  if (const auto values = constants_of(schema)) {
    for (const Json& value : *values) types.insert(value.is_number() ? "number" : value.type_name());
  } else {
    for (const auto& [type, keywords] : kKeywords) {
      if (std::any_of(keywords.begin(), keywords.end(), [&](auto* each) { return schema.contains(each); }))
        types.insert(type);
    }
    if (types.empty()) types = {"array", "boolean", "null", "number", "object", "string"};
  }
  if (types.contains("number")) types.insert("integer");
  return types;
}

Status schema_error(StatusCode code, const std::string& pointer, const std::string& keyword,
                    const std::string& what) {
  return error(code, "json_schema: '{}' at '{}': {}", keyword, pointer, what);
}

std::string pointer_to(const std::string& pointer, const std::string& token) {
  std::string result = pointer + '/';
  for (const char c : token) {
    if (c == '~') {
      result += "~0";
    } else if (c == '/') {
      result += "~1";
    } else {
      result += c;
    }
  }
  return result;
}

bool is_annotation(const std::string& keyword) {
  static const std::set<std::string, std::less<>> kAnnotations = {
      "$anchor",          "$comment", "$defs",       "$id",        "$schema",     "contentEncoding",
      "contentMediaType", "default",  "definitions", "deprecated", "description", "discriminator",
      "example",          "examples", "id",          "readOnly",   "title",       "writeOnly"};
  return kAnnotations.contains(keyword) || keyword.starts_with("x-");
}

Result<const Json*> SchemaMerger::resolve(const std::string& ref, const std::string& pointer) const {
  if (!ref.starts_with('#') || (ref.size() > 1 && ref[1] != '/')) {
    return schema_error(StatusCode::kUnsupported, pointer, "$ref",
                        "'" + ref + "' is not a JSON pointer into this schema");
  }
  const Json* target = &root_;
  std::string_view rest = std::string_view(ref).substr(1);
  while (!rest.empty() && target != nullptr) {
    const std::size_t end = std::min(rest.find('/', 1), rest.size());
    const auto token = unescape(rest.substr(1, end - 1));
    rest.remove_prefix(end);
    const Json* next = nullptr;
    if (token && target->is_object() && target->contains(*token)) next = &(*target)[*token];
    if (token && target->is_array() && !token->empty() && token->size() < 6 &&
        token->find_first_not_of("0123456789") == token->npos) {
      const auto index = static_cast<std::size_t>(std::stoi(*token));
      if (index < target->size()) next = &(*target)[index];
    }
    target = next;
  }
  if (target == nullptr)
    return schema_error(StatusCode::kInvalidArgument, pointer, "$ref", "'" + ref + "' is not there");
  return target;
}

Status SchemaMerger::charge(std::size_t num_steps, const std::string& pointer) {
  num_steps_ += num_steps;
  if (num_steps_ <= kMaxSteps) return Status();
  return error(StatusCode::kInvalidArgument, "json_schema: merging at '{}' takes more than {} steps", pointer,
               kMaxSteps);
}

Result<Json> SchemaMerger::flatten(const Json& schema, const std::string& pointer, int depth) {
  if (depth > kMaxDepth) {
    return error(StatusCode::kInvalidArgument, "json_schema: '{}': more than {} schemas within each other",
                 pointer, kMaxDepth);
  }
  KVASIR_RETURN_IF_ERROR(charge(count_values(schema), pointer));
  if (!schema.is_object()) return schema;
  Json result = schema;
  if (const auto ref = schema.find("$ref"); ref != schema.end()) {
    if (!ref->is_string())
      return schema_error(StatusCode::kInvalidArgument, pointer, "$ref", "expected a string");
    KVASIR_ASSIGN_OR_RETURN(const Json* target, resolve(ref->get<std::string>(), pointer));
    KVASIR_ASSIGN_OR_RETURN(const Json flat, flatten(*target, pointer, depth + 1));
    KVASIR_ASSIGN_OR_RETURN(result, merge(without(result, "$ref"), flat, pointer, depth + 1));
  }
  if (!result.is_object() || !result.contains("allOf")) return result;
  const Json parts = result["allOf"];
  if (!parts.is_array() || parts.empty()) {
    return schema_error(StatusCode::kInvalidArgument, pointer, "allOf", "expected a list of schemas");
  }
  result.erase("allOf");
  for (const Json& part : parts) {
    KVASIR_ASSIGN_OR_RETURN(Json merged, merge(result, part, pointer, depth + 1));
    result = std::move(merged);
  }
  return result;
}

Result<Json> SchemaMerger::merge(const Json& a, const Json& b, const std::string& pointer, int depth) {
  KVASIR_ASSIGN_OR_RETURN(const Json first, flatten(a, pointer, depth + 1));
  KVASIR_ASSIGN_OR_RETURN(const Json second, flatten(b, pointer, depth + 1));
  for (const Json* each : {&first, &second}) {
    if (each->is_boolean()) return each->get<bool>() ? (each == &first ? second : first) : Json(false);
    if (!each->is_object()) {
      return error(StatusCode::kInvalidArgument,
                   "json_schema: '{}': expected a schema, an object or a boolean", pointer);
    }
  }
  Json result = Json::object();
  for (const auto& [keyword, value] : first.items()) {
    if (keyword == "const" && second.contains(keyword) && second[keyword] != value) return Json(false);
    if (!second.contains(keyword) || second[keyword] == value || is_annotation(keyword)) {
      result[keyword] = value;
    } else if (keyword != "properties") {
      KVASIR_ASSIGN_OR_RETURN(result[keyword],
                              merge_keyword(keyword, value, second[keyword], pointer, depth));
    }
  }
  for (const auto& [keyword, value] : second.items()) {
    if (!first.contains(keyword)) result[keyword] = value;
  }
  KVASIR_RETURN_IF_ERROR(merge_properties(first, second, result, pointer, depth));
  const bool is_empty = (result.contains("enum") && result["enum"].empty()) ||
                        (result.contains("type") && result["type"].empty());
  return is_empty ? Json(false) : result;
}

Result<Json> SchemaMerger::merge_keyword(const std::string& keyword, const Json& a, const Json& b,
                                         const std::string& pointer, int depth) {
  for (const char* lower : {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}) {
    if (keyword == lower) return larger(a, b);
  }
  for (const char* upper : {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}) {
    if (keyword == upper) return smaller(a, b);
  }
  if (keyword == "type") return merge_types(a, b);
  KVASIR_RETURN_IF_ERROR(charge(a.size() * b.size() / kPairsPerStep, pointer));
  if (keyword == "required" && a.is_array() && b.is_array()) return merge_lists(a, b, true);
  if (keyword == "enum" && a.is_array() && b.is_array()) return merge_lists(a, b, false);
  if (keyword == "items" || keyword == "additionalProperties")
    return merge(a, b, pointer_to(pointer, keyword), depth + 1);
  return schema_error(StatusCode::kUnsupported, pointer, keyword,
                      "two of them that must both hold cannot be merged");
}

// A property that only one side lists must be what the other side's additionalProperties says, if anything.
Status SchemaMerger::merge_properties(const Json& a, const Json& b, Json& result, const std::string& pointer,
                                      int depth) {
  const auto num_properties = [](const Json& schema) {
    return schema.contains("properties") ? schema["properties"].size() : 0;
  };
  KVASIR_RETURN_IF_ERROR(charge((num_properties(a) + 1) * (num_properties(b) + 1) / kPairsPerStep, pointer));
  Json properties = Json::object();
  for (const auto& [mine, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    if (!mine->contains("properties")) continue;
    if (!(*mine)["properties"].is_object()) {
      return schema_error(StatusCode::kInvalidArgument, pointer, "properties", "expected an object");
    }
    for (const auto& [name, schema] : (*mine)["properties"].items()) {
      if (properties.contains(name)) continue;
      Json beside = true;
      if (other->contains("properties") && (*other)["properties"].contains(name)) {
        beside = (*other)["properties"][name];
      } else if (other->contains("additionalProperties")) {
        beside = (*other)["additionalProperties"];
      }
      const std::string place = pointer_to(pointer_to(pointer, "properties"), name);
      const bool is_same = beside == Json(true) || beside == schema;
      Result<Json> merged = is_same ? Result<Json>(schema) : merge(schema, beside, place, depth + 1);
      if (!merged.ok()) return merged.status();
      properties[name] = std::move(*merged);
    }
  }
  if (!properties.empty()) result["properties"] = std::move(properties);
  return Status();
}

bool SchemaMerger::are_disjoint(const Json& a, const Json& b, const std::string& pointer, int depth) {
  constexpr int kMaxDisjointDepth = 4;
  if (depth > kMaxDisjointDepth) return false;
  const Result<Json> first = flatten(a, pointer), second = flatten(b, pointer);
  if (!first.ok() || !second.ok()) return false;
  if (*first == Json(false) || *second == Json(false)) return true;
  if (!first->is_object() || !second->is_object()) return false;
  std::vector<std::string> common;
  const std::set<std::string> types = types_of(*first), other_types = types_of(*second);
  std::set_intersection(types.begin(), types.end(), other_types.begin(), other_types.end(),
                        std::back_inserter(common));
  if (common.empty()) return true;
  const auto values = constants_of(*first), other_values = constants_of(*second);
  if (values && other_values) {
    return charge(values->size() * other_values->size() / kPairsPerStep, pointer).ok() &&
           merge_lists(*values, *other_values, false).empty();
  }
  if (common != std::vector<std::string>{"object"}) return false;
  if (!first->contains("properties") || !second->contains("properties")) return false;
  for (const auto& [name, schema] : (*first)["properties"].items()) {
    if (!(*second)["properties"].is_object() || !(*second)["properties"].contains(name)) continue;
    if (!is_required(*first, name) || !is_required(*second, name)) continue;
    if (are_disjoint(schema, (*second)["properties"][name], pointer, depth + 1)) return true;
  }
  return false;
}

}  // namespace kvasir::grammar
