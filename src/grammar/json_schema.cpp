#include "grammar/json_schema.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "grammar/json_format.h"
#include "grammar/json_number.h"
#include "grammar/json_schema_merge.h"
#include "grammar/json_text.h"
#include "grammar/regex.h"

namespace kvasir::grammar {
namespace {

constexpr int kMaxSchemaDepth = 64;
constexpr std::size_t kMaxSchemaValues = 50'000;
constexpr std::size_t kMaxProperties = 1'000;
// Alternatives of oneOf are compared in pairs.
constexpr std::size_t kMaxOneOf = 100;

const std::set<std::string, std::less<>> kKeywords = {"$ref",
                                                      "additionalItems",
                                                      "additionalProperties",
                                                      "allOf",
                                                      "anyOf",
                                                      "const",
                                                      "enum",
                                                      "exclusiveMaximum",
                                                      "exclusiveMinimum",
                                                      "format",
                                                      "items",
                                                      "maxItems",
                                                      "maxLength",
                                                      "maximum",
                                                      "minItems",
                                                      "minLength",
                                                      "minProperties",
                                                      "minimum",
                                                      "oneOf",
                                                      "pattern",
                                                      "prefixItems",
                                                      "properties",
                                                      "required",
                                                      "type"};

// Counts values, so that neither the recursion nor the work below is without a bound.
Status check_size(const Json& value, std::size_t& count, int depth) {
  if (depth > kMaxSchemaDepth) {
    return error(StatusCode::kInvalidArgument, "json_schema: nested deeper than {} levels", kMaxSchemaDepth);
  }
  if (++count > kMaxSchemaValues) {
    return error(StatusCode::kInvalidArgument, "json_schema: more than {} values", kMaxSchemaValues);
  }
  if (value.is_structured()) {
    for (const Json& each : value) KVASIR_RETURN_IF_ERROR(check_size(each, count, depth + 1));
  }
  return Status();
}

class SchemaCompiler {
 public:
  SchemaCompiler(GrammarBuilder& builder, const Json& root)
      : builder_(builder), root_(root), text_(builder), merger_(root) {}

  Result<Expr> run() {
    std::size_t count = 0;
    KVASIR_RETURN_IF_ERROR(check_size(root_, count, 0));
    KVASIR_ASSIGN_OR_RETURN(const Expr result, reference("#", "#"));
    while (!pending_.empty()) {
      const Pending next = pending_.back();
      pending_.pop_back();
      KVASIR_ASSIGN_OR_RETURN(const Expr expression, compile(*next.schema, next.pointer, 0));
      builder_.define(next.rule, expression);
    }
    KVASIR_RETURN_IF_ERROR(builder_.status());
    return result;
  }

 private:
  struct Pending {
    RuleId rule;
    const Json* schema;
    std::string pointer;
  };
  // A count from a keyword; `fallback` without it.
  struct Counts {
    int min = 0, max = GrammarBuilder::kUnbounded;
  };

  Expr never() { return builder_.any_of({}); }

  // A rule for each schema that is referred to, so that schemas may contain themselves.
  Result<Expr> reference(const std::string& ref, const std::string& pointer) {
    if (const auto found = rules_.find(ref); found != rules_.end()) return builder_.call(found->second);
    KVASIR_ASSIGN_OR_RETURN(const Json* target, merger_.resolve(ref, pointer));
    const RuleId rule = builder_.declare(ref, GrammarBuilder::Calls::kShare);
    rules_.emplace(ref, rule);
    pending_.push_back({rule, target, ref});
    return builder_.call(rule);
  }

  Result<Expr> compile(const Json& schema, const std::string& pointer, int depth) {
    if (depth > kMaxSchemaDepth) {
      return error(StatusCode::kInvalidArgument, "json_schema: '{}': nested deeper than {} levels", pointer,
                   kMaxSchemaDepth);
    }
    KVASIR_RETURN_IF_ERROR(builder_.status());
    if (schema.is_boolean()) return schema.get<bool>() ? text_.value() : never();
    if (!schema.is_object()) {
      return error(StatusCode::kInvalidArgument,
                   "json_schema: '{}': expected a schema, an object or a boolean", pointer);
    }
    for (const auto& [keyword, value] : schema.items()) {
      if (kKeywords.contains(keyword) || is_annotation(keyword)) continue;
      return schema_error(StatusCode::kUnsupported, pointer, keyword, "this keyword is not supported");
    }
    if (schema.contains("$ref") || schema.contains("allOf")) {
      if (const auto ref = schema.find("$ref");
          ref != schema.end() && ref->is_string() && !has_more_than(schema, "$ref")) {
        return reference(ref->get<std::string>(), pointer);
      }
      KVASIR_ASSIGN_OR_RETURN(const Json flat, merger_.flatten(schema, pointer));
      return compile(flat, pointer, depth + 1);
    }
    if (schema.contains("anyOf")) return compile_alternatives(schema, "anyOf", pointer, depth);
    if (schema.contains("oneOf")) return compile_alternatives(schema, "oneOf", pointer, depth);
    if (schema.contains("const") || schema.contains("enum")) return compile_constants(schema, pointer);
    return compile_types(schema, pointer, depth);
  }

  static bool has_more_than(const Json& schema, std::string_view keyword) {
    for (const auto& [each, value] : schema.items()) {
      if (each != keyword && !is_annotation(each)) return true;
    }
    return false;
  }

  Result<Expr> compile_alternatives(const Json& schema, const char* keyword, const std::string& pointer,
                                    int depth) {
    const Json alternatives = schema[keyword];
    if (!alternatives.is_array() || alternatives.empty()) {
      return schema_error(StatusCode::kInvalidArgument, pointer, keyword, "expected a list of schemas");
    }
    const std::string place = pointer_to(pointer, keyword);
    if (std::string_view(keyword) == "oneOf")
      KVASIR_RETURN_IF_ERROR(check_disjoint(alternatives, pointer, place));
    Json beside = schema;
    beside.erase(keyword);
    const bool is_alone = !has_more_than(schema, keyword);
    std::vector<Expr> expressions;
    for (std::size_t i = 0; i < alternatives.size(); ++i) {
      const std::string here = pointer_to(place, std::to_string(i));
      Json alternative = alternatives[i];
      if (!is_alone) {
        KVASIR_ASSIGN_OR_RETURN(alternative, merger_.merge(beside, alternatives[i], here));
      }
      KVASIR_ASSIGN_OR_RETURN(const Expr expression, compile(alternative, here, depth + 1));
      expressions.push_back(expression);
    }
    return builder_.any_of(std::move(expressions));
  }

  Status check_disjoint(const Json& alternatives, const std::string& pointer, const std::string& place) {
    if (alternatives.size() > kMaxOneOf) {
      return schema_error(StatusCode::kInvalidArgument, pointer, "oneOf",
                          "more than " + std::to_string(kMaxOneOf) + " alternatives");
    }
    for (std::size_t i = 0; i < alternatives.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (merger_.are_disjoint(alternatives[i], alternatives[j], place)) continue;
        return schema_error(
            StatusCode::kUnsupported, pointer, "oneOf",
            "alternatives " + std::to_string(j) + " and " + std::to_string(i) +
                " differ neither in type nor in constants nor in a required property with different "
                "constants; anyOf may be what is meant");
      }
    }
    return Status();
  }

  Result<Expr> compile_constants(const Json& schema, const std::string& pointer) {
    const char* keyword = schema.contains("enum") ? "enum" : "const";
    for (const auto& [each, value] : schema.items()) {
      if (each == "enum" || each == "const" || each == "type" || is_annotation(each)) continue;
      return schema_error(StatusCode::kUnsupported, pointer, each,
                          std::string("not supported beside ") + keyword);
    }
    const auto values = constants_of(schema);
    if (!values)
      return schema_error(StatusCode::kInvalidArgument, pointer, keyword, "expected a list of values");
    if (schema.contains("type")) KVASIR_RETURN_IF_ERROR(check_types(schema, pointer));
    const std::set<std::string> types = types_of(schema);
    std::vector<Expr> expressions;
    for (const Json& value : *values) {
      const bool is_integer = value.is_number() && std::trunc(value.get<double>()) == value.get<double>();
      const std::string type = is_integer ? "integer" : value.type_name();
      if (types.contains(type)) expressions.push_back(text_.constant(value));
    }
    return builder_.any_of(std::move(expressions));
  }

  Status check_types(const Json& schema, const std::string& pointer) {
    static const std::set<std::string, std::less<>> kTypes = {"array",  "boolean", "integer", "null",
                                                              "number", "object",  "string"};
    const Json& type = schema["type"];
    const Json list = type.is_array() ? type : Json::array({type});
    for (const Json& each : list) {
      if (!each.is_string() || !kTypes.contains(each.get<std::string>())) {
        return schema_error(StatusCode::kInvalidArgument, pointer, "type",
                            "expected names of types, got " +
                                type.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 100));
      }
    }
    return Status();
  }

  Result<Expr> compile_types(const Json& schema, const std::string& pointer, int depth) {
    if (schema.contains("type")) KVASIR_RETURN_IF_ERROR(check_types(schema, pointer));
    std::set<std::string> types = types_of(schema);
    if (types.size() == 7 && !has_more_than(schema, "type")) return text_.value();
    if (types.contains("number")) types.erase("integer");
    std::vector<Expr> expressions;
    for (const std::string& type : types) {
      KVASIR_ASSIGN_OR_RETURN(const Expr expression, compile_type(type, schema, pointer, depth));
      expressions.push_back(expression);
    }
    return builder_.any_of(std::move(expressions));
  }

  Result<Expr> compile_type(const std::string& type, const Json& schema, const std::string& pointer,
                            int depth) {
    if (type == "object") return compile_object(schema, pointer, depth);
    if (type == "array") return compile_array(schema, pointer, depth);
    if (type == "string") return compile_string(schema, pointer);
    if (type == "boolean") return builder_.any_of({builder_.literal("true"), builder_.literal("false")});
    if (type == "null") return builder_.literal("null");
    return compile_number(schema, pointer, type == "integer");
  }

  // --- strings and numbers

  Result<Counts> read_counts(const Json& schema, const char* min, const char* max,
                             const std::string& pointer) {
    Counts counts;
    for (const auto& [keyword, target] : {std::pair(min, &counts.min), std::pair(max, &counts.max)}) {
      if (!schema.contains(keyword)) continue;
      const Json& value = schema[keyword];
      const bool is_count = value.is_number() && value.get<double>() >= 0 &&
                            value.get<double>() <= kMaxRepetitions &&
                            value.get<double>() == static_cast<int>(value.get<double>());
      if (!is_count) {
        return schema_error(StatusCode::kInvalidArgument, pointer, keyword,
                            "expected a count up to " + std::to_string(kMaxRepetitions));
      }
      *target = static_cast<int>(value.get<double>());
    }
    return counts;
  }

  Result<Expr> compile_string(const Json& schema, const std::string& pointer) {
    const bool has_length = schema.contains("minLength") || schema.contains("maxLength");
    for (const auto& [keyword, others] :
         {std::pair("pattern", has_length || schema.contains("format")), std::pair("format", has_length)}) {
      if (!schema.contains(keyword)) continue;
      if (!schema[keyword].is_string())
        return schema_error(StatusCode::kInvalidArgument, pointer, keyword, "expected a string");
      if (others) {
        return schema_error(StatusCode::kUnsupported, pointer, keyword,
                            "not supported beside another of pattern, format, minLength and maxLength");
      }
    }
    if (schema.contains("pattern"))
      return compile_pattern(schema["pattern"].get<std::string>(), "pattern", pointer, true);
    if (schema.contains("format")) {
      const std::string format = schema["format"].get<std::string>();
      const std::string_view regex = format_regex(format);
      if (!regex.empty()) return compile_pattern(std::string(regex), "format", pointer, false);
      return schema_error(
          StatusCode::kUnsupported, pointer, "format",
          "expected one of " + std::string(supported_formats()) + "; got '" + format.substr(0, 100) + "'");
    }
    if (!has_length) return text_.string();
    KVASIR_ASSIGN_OR_RETURN(const Counts length, read_counts(schema, "minLength", "maxLength", pointer));
    if (length.max != GrammarBuilder::kUnbounded && length.max < length.min) return never();
    return text_.string(length.min, length.max);
  }

  Result<Expr> compile_pattern(const std::string& pattern, const char* keyword, const std::string& pointer,
                               bool search) {
    const auto inside = add_regex(builder_, pattern, {.search = search, .inside_json_string = true});
    if (!inside.ok())
      return schema_error(inside.status().code(), pointer, keyword, inside.status().message());
    return text_.quoted(*inside);
  }

  // The narrower of what is there already and the bound that the keyword sets.
  Status read_bound(const Json& schema, const char* keyword, bool is_exclusive, const std::string& pointer,
                    std::optional<Bound>& bound, bool is_lower) {
    if (!schema.contains(keyword)) return Status();
    const Json& value = schema[keyword];
    if (!value.is_number())
      return schema_error(StatusCode::kInvalidArgument, pointer, keyword, "expected a number");
    const auto decimal = Decimal::from_json(value);
    if (!decimal) {
      return schema_error(StatusCode::kUnsupported, pointer, keyword,
                          "expected at most 18 digits on each side of the point");
    }
    const bool is_narrower = !bound || (is_lower ? bound->value < *decimal : *decimal < bound->value);
    if (is_narrower) {
      bound = Bound{*decimal, is_exclusive};
    } else if (bound->value == *decimal) {
      bound->is_exclusive = bound->is_exclusive || is_exclusive;
    }
    return Status();
  }

  Result<Expr> compile_number(const Json& schema, const std::string& pointer, bool is_integer) {
    NumberRange range;
    KVASIR_RETURN_IF_ERROR(read_bound(schema, "minimum", false, pointer, range.min, true));
    KVASIR_RETURN_IF_ERROR(read_bound(schema, "exclusiveMinimum", true, pointer, range.min, true));
    KVASIR_RETURN_IF_ERROR(read_bound(schema, "maximum", false, pointer, range.max, false));
    KVASIR_RETURN_IF_ERROR(read_bound(schema, "exclusiveMaximum", true, pointer, range.max, false));
    if (!range.min && !range.max) return is_integer ? text_.integer() : text_.number();
    if (range.min && range.max && range.max->value < range.min->value) return never();
    return is_integer ? add_integer_range(builder_, range) : add_number_range(builder_, range);
  }

  // --- arrays

  Result<Expr> compile_array(const Json& schema, const std::string& pointer, int depth) {
    KVASIR_ASSIGN_OR_RETURN(const Counts length, read_counts(schema, "minItems", "maxItems", pointer));
    if (length.max != GrammarBuilder::kUnbounded && length.max < length.min) return never();
    // Draft 7 has the list in `items`, and `additionalItems` for the others.
    const bool is_draft_7 = schema.contains("items") && schema["items"].is_array();
    const char *prefix_keyword = is_draft_7 ? "items" : "prefixItems",
               *rest_keyword = is_draft_7 ? "additionalItems" : "items";
    std::vector<Expr> prefix;
    if (schema.contains(prefix_keyword)) {
      const Json& list = schema[prefix_keyword];
      if (!list.is_array())
        return schema_error(StatusCode::kInvalidArgument, pointer, prefix_keyword,
                            "expected a list of schemas");
      for (std::size_t i = 0; i < list.size(); ++i) {
        const std::string here = pointer_to(pointer_to(pointer, prefix_keyword), std::to_string(i));
        KVASIR_ASSIGN_OR_RETURN(const Expr item, compile(list[i], here, depth + 1));
        prefix.push_back(item);
      }
    }
    std::optional<Expr> rest;
    if (schema.contains(rest_keyword)) {
      const Json& items = schema[rest_keyword];
      if (items != Json(false)) {
        KVASIR_ASSIGN_OR_RETURN(rest, compile(items, pointer_to(pointer, rest_keyword), depth + 1));
      }
    } else if (prefix.empty()) {
      rest = text_.value();
    }
    return text_.array(prefix, rest, length.min, length.max);
  }

  // --- objects

  Result<Expr> compile_object(const Json& schema, const std::string& pointer, int depth) {
    std::vector<std::string> names;
    std::set<std::string> required;
    KVASIR_RETURN_IF_ERROR(read_required(schema, pointer, required));
    const Json no_properties = Json::object();
    const Json& properties = schema.contains("properties") ? schema["properties"] : no_properties;
    if (!properties.is_object())
      return schema_error(StatusCode::kInvalidArgument, pointer, "properties", "expected an object");
    const bool has_more = schema.contains("additionalProperties");
    const Json more = has_more ? schema["additionalProperties"] : Json(properties.empty());
    const std::string more_place = pointer_to(pointer, "additionalProperties");
    KVASIR_RETURN_IF_ERROR(check_min_properties(schema, required.size(), pointer));

    std::vector<JsonText::Member> members;
    for (const auto& [name, property] : properties.items()) {
      const std::string here = pointer_to(pointer_to(pointer, "properties"), name);
      KVASIR_ASSIGN_OR_RETURN(const Expr value, compile(property, here, depth + 1));
      names.push_back(name);
      members.push_back({member(name, value), required.erase(name) > 0});
    }
    for (const std::string& name : required) {  // required, but not listed: as an additional one
      if (more == Json(false) && has_more) {
        return schema_error(StatusCode::kInvalidArgument, pointer, "required",
                            "'" + name + "' is neither in properties nor allowed");
      }
      KVASIR_ASSIGN_OR_RETURN(const Expr value, compile(has_more ? more : Json(true), more_place, depth + 1));
      names.push_back(name);
      members.push_back({member(name, value), true});
    }
    if (members.size() > kMaxProperties) {
      return schema_error(StatusCode::kInvalidArgument, pointer, "properties",
                          "more than " + std::to_string(kMaxProperties));
    }
    std::optional<Expr> further;
    if (more != Json(false)) {
      if (names.empty() && (more == Json(true) || more == Json::object())) return text_.object();
      KVASIR_ASSIGN_OR_RETURN(const Expr value, compile(more, more_place, depth + 1));
      const Expr name = names.empty() ? text_.string() : text_.name_other_than(names);
      further = builder_.sequence({name, text_.colon(), value});
    }
    return text_.object(members, further);
  }

  static Status read_required(const Json& schema, const std::string& pointer,
                              std::set<std::string>& required) {
    if (!schema.contains("required")) return Status();
    const Json& list = schema["required"];
    for (const Json& name : list) {
      if (!list.is_array() || !name.is_string()) {
        return schema_error(StatusCode::kInvalidArgument, pointer, "required", "expected a list of names");
      }
      required.insert(name.get<std::string>());
    }
    return Status();
  }

  static Status check_min_properties(const Json& schema, std::size_t num_required,
                                     const std::string& pointer) {
    if (!schema.contains("minProperties")) return Status();
    const Json& min = schema["minProperties"];
    if (min.is_number() && min.get<double>() <= static_cast<double>(num_required)) return Status();
    return schema_error(StatusCode::kUnsupported, pointer, "minProperties",
                        "more than there are in required");
  }

  Expr member(const std::string& name, Expr value) {
    return builder_.sequence({text_.constant(name), text_.colon(), value});
  }

  GrammarBuilder& builder_;
  const Json& root_;
  JsonText text_;
  SchemaMerger merger_;
  std::map<std::string, RuleId> rules_;  // by reference
  std::vector<Pending> pending_;         // rules that are not defined yet
};

}  // namespace

Result<Expr> add_json_schema(GrammarBuilder& builder, const nlohmann::ordered_json& schema) {
  return SchemaCompiler(builder, schema).run();
}

Expr add_json_object(GrammarBuilder& builder) {
  return JsonText(builder).object();
}

Expr add_json_constant(GrammarBuilder& builder, const nlohmann::ordered_json& value) {
  return JsonText(builder).constant(value);
}

}  // namespace kvasir::grammar
