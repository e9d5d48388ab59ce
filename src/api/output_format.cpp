#include "api/output_format.h"

#include <nlohmann/json.hpp>

#include "grammar/gbnf.h"
#include "grammar/grammar_builder.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"

namespace kvasir::api {
namespace {

using grammar::GrammarBuilder;
using nlohmann::ordered_json;

// The one format of a request, and the field that asked for it.
class FormatReader {
 public:
  FormatReader(FieldReader& reader, OutputFormat& format) : reader_(reader), format_(format) {}

  void schema(const char* key, const ordered_json* value) {
    if (value == nullptr) return;
    if (!value->is_object() && !value->is_boolean()) {
      return reader_.refuse(key, fmt::format("expected a JSON schema, got {}", show(*value)));
    }
    build(key, [&](GrammarBuilder& builder) { return grammar::add_json_schema(builder, *value); });
  }

  void json_object(const char* key) {
    build(key,
          [](GrammarBuilder& builder) -> Result<grammar::Expr> { return grammar::add_json_object(builder); });
  }

  void regex(const char* key, const ordered_json* value) {
    if (const std::string* text = string(key, value)) {
      build(key, [&](GrammarBuilder& builder) { return grammar::add_regex(builder, *text); });
    }
  }

  void gbnf(const char* key, const ordered_json* value) {
    if (const std::string* text = string(key, value)) {
      build(key, [&](GrammarBuilder& builder) { return grammar::add_gbnf(builder, *text); });
    }
  }

  void choice(const char* key, const ordered_json* value) {
    if (value == nullptr) return;
    const bool is_list = value->is_array() && !value->empty();
    if (!is_list) return reader_.refuse(key, "expected a list of strings");
    std::vector<std::string> texts;
    for (const ordered_json& each : *value) {
      if (!each.is_string()) return reader_.refuse(key, fmt::format("expected strings, got {}", show(each)));
      texts.push_back(each.get<std::string>());
    }
    build(key, [&](GrammarBuilder& builder) -> Result<grammar::Expr> {
      std::vector<grammar::Expr> alternatives;
      for (const std::string& text : texts) alternatives.push_back(builder.literal(text));
      return builder.any_of(std::move(alternatives));
    });
  }

 private:
  const std::string* string(const char* key, const ordered_json* value) {
    if (value == nullptr) return nullptr;
    if (!value->is_string() || value->get_ref<const std::string&>().empty()) {
      reader_.refuse(key, fmt::format("expected a string, got {}", show(*value)));
      return nullptr;
    }
    return &value->get_ref<const std::string&>();
  }

  template <typename Add>
  void build(const char* key, const Add& add) {
    if (format_ != nullptr)
      return reader_.refuse(key, "a reply has one format only, and another field asks for one");
    GrammarBuilder builder;
    const Result<grammar::Expr> root = add(builder);
    if (!root.ok()) return reader_.refuse(key, root.status().message());
    auto built = builder.build(*root);
    if (!built.ok()) return reader_.refuse(key, built.status().message());
    format_ = std::move(*built);
  }

  FieldReader& reader_;
  OutputFormat& format_;
};

void read_type(FieldReader& reader, FormatReader& formats) {
  constexpr const char* kKey = "response_format";
  const ordered_json* value = reader.take(kKey);
  if (value == nullptr) return;
  if (!value->is_object())
    return reader.refuse(kKey, fmt::format("expected an object, got {}", show(*value)));
  const ordered_json type = member(*value, "type");
  if (type == "text") return;
  if (type == "json_object") {
    // llama.cpp lets a schema stand beside the type.
    const auto schema = value->find("schema");
    return schema == value->end() ? formats.json_object(kKey) : formats.schema(kKey, &*schema);
  }
  if (type != "json_schema") {
    return reader.refuse(
        kKey, fmt::format("expected type 'text', 'json_object' or 'json_schema', got {}", show(type)));
  }
  const ordered_json wrapped = member(*value, "json_schema");
  if (!wrapped.is_object() || !wrapped.contains("schema"))
    return reader.refuse(kKey, "json_schema.schema is required");
  formats.schema(kKey, &wrapped["schema"]);
}

void read_structured_outputs(FieldReader& reader, FormatReader& formats) {
  const ordered_json* value = reader.take("structured_outputs");
  if (value == nullptr) return;
  if (!value->is_object()) return reader.refuse("structured_outputs", "expected an object");
  FieldReader nested(*value, "structured_outputs.");
  formats.schema("structured_outputs", nested.take("json"));
  formats.regex("structured_outputs", nested.take("regex"));
  formats.gbnf("structured_outputs", nested.take("grammar"));
  formats.choice("structured_outputs", nested.take("choice"));
  nested.refuse_unknown();
  reader.refuse(nested);
}

}  // namespace

void read_response_format(FieldReader& reader, OutputFormat& format) {
  FormatReader formats(reader, format);
  read_type(reader, formats);
}

void read_output_format(FieldReader& reader, OutputFormat& format) {
  FormatReader formats(reader, format);
  read_type(reader, formats);
  read_structured_outputs(reader, formats);
  formats.schema("json_schema", reader.take("json_schema"));
  formats.schema("guided_json", reader.take("guided_json"));
  formats.regex("guided_regex", reader.take("guided_regex"));
  formats.regex("regex", reader.take("regex"));
  formats.gbnf("guided_grammar", reader.take("guided_grammar"));
  formats.gbnf("grammar", reader.take("grammar"));
  formats.choice("guided_choice", reader.take("guided_choice"));
}

}  // namespace kvasir::api
