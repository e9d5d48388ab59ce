// json.dumps().

#include <algorithm>
#include <cmath>
#include <vector>

#include "tokenizer/jinja/operators.h"
#include "tokenizer/jinja/printing.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer::jinja {
namespace {

std::string print_json_float(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return print_float(value);
}

void append_escape(std::string& out, char32_t c) {
  if (c >= 0x10000) {  // as UTF-16
    append_escape(out, 0xD800 + ((c - 0x10000) >> 10));
    append_escape(out, 0xDC00 + ((c - 0x10000) & 0x3FF));
    return;
  }
  out += fmt::format("\\u{:04x}", static_cast<std::uint32_t>(c));
}

class JsonPrinter {
 public:
  JsonPrinter(Writer& out, const JsonStyle& style) : out_(out), style_(style) {}

  Status print(const Value& value, std::size_t depth) {
    if (depth > kMaxValueDepth) {
      return failure("maximum recursion depth exceeded: values inside each other {} times", kMaxValueDepth);
    }
    switch (value.type) {
      case Type::kNone:
        return out_.add("null");
      case Type::kBool:
        return out_.add(value.boolean ? "true" : "false");
      case Type::kInt:
        return out_.add(print_int(value.as_int()));
      case Type::kFloat:
        return out_.add(print_json_float(value.real));
      case Type::kString:
        return print_text(value.text());
      case Type::kList:
      case Type::kTuple:
        return print_array(value.elements(), depth);
      case Type::kDict:
        return print_object(value.dict->entries, depth);
      default:
        return failure("Object of type {} is not JSON serializable", type_name(value));
    }
  }

 private:
  Status print_text(std::string_view text) {
    KVASIR_RETURN_IF_ERROR(out_.runtime().spend_text(text.size()));
    std::string escaped = "\"";
    for (std::size_t at = 0; at < text.size();) {
      const auto [c, end] = decode_at(text, at);
      switch (c) {
        case '"':
          escaped += "\\\"";
          break;
        case '\\':
          escaped += "\\\\";
          break;
        case '\n':
          escaped += "\\n";
          break;
        case '\r':
          escaped += "\\r";
          break;
        case '\t':
          escaped += "\\t";
          break;
        case '\f':
          escaped += "\\f";
          break;
        case '\b':
          escaped += "\\b";
          break;
        default:
          if (c < 0x20 || (style_.ensure_ascii && c > 0x7E)) {
            append_escape(escaped, c);
          } else {
            escaped += text.substr(at, end - at);
          }
      }
      at = end;
    }
    return out_.add(escaped + "\"");
  }

  Status print_line(std::size_t depth) {
    if (!style_.indent) return Status();
    KVASIR_RETURN_IF_ERROR(out_.add("\n"));
    for (std::size_t i = 0; i < depth; ++i) KVASIR_RETURN_IF_ERROR(out_.add(*style_.indent));
    return Status();
  }

  Status print_array(std::span<const Value> items, std::size_t depth) {
    if (items.empty()) return out_.add("[]");
    KVASIR_RETURN_IF_ERROR(out_.add("["));
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) KVASIR_RETURN_IF_ERROR(out_.add(style_.item_separator));
      KVASIR_RETURN_IF_ERROR(print_line(depth + 1));
      KVASIR_RETURN_IF_ERROR(print(items[i], depth + 1));
    }
    KVASIR_RETURN_IF_ERROR(print_line(depth));
    return out_.add("]");
  }

  Status print_key(const Value& key) {
    switch (key.type) {
      case Type::kString:
        return print_text(key.text());
      case Type::kNone:
        return print_text("null");
      case Type::kBool:
        return print_text(key.boolean ? "true" : "false");
      case Type::kInt:
        return print_text(print_int(key.as_int()));
      case Type::kFloat:
        return print_text(print_json_float(key.real));
      default:
        return failure("keys must be str, int, float, bool or None, not {}", type_name(key));
    }
  }

  Status print_object(std::span<const Entry> entries, std::size_t depth) {
    if (entries.empty()) return out_.add("{}");
    std::vector<Entry> sorted;
    if (style_.sort_keys) {
      sorted.assign(entries.begin(), entries.end());
      KVASIR_RETURN_IF_ERROR(sort(sorted));
      entries = sorted;
    }
    KVASIR_RETURN_IF_ERROR(out_.add("{"));
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) KVASIR_RETURN_IF_ERROR(out_.add(style_.item_separator));
      KVASIR_RETURN_IF_ERROR(print_line(depth + 1));
      KVASIR_RETURN_IF_ERROR(print_key(entries[i].key));
      KVASIR_RETURN_IF_ERROR(out_.add(style_.key_separator));
      KVASIR_RETURN_IF_ERROR(print(entries[i].value, depth + 1));
    }
    KVASIR_RETURN_IF_ERROR(print_line(depth));
    return out_.add("}");
  }

  Status sort(std::vector<Entry>& entries) {
    Status status;
    std::stable_sort(entries.begin(), entries.end(), [&](const Entry& a, const Entry& b) {
      if (!status.ok()) return false;
      const Result<bool> is_less = less(out_.runtime(), a.key, b.key);
      if (!is_less.ok()) status = is_less.status();
      return is_less.ok() && *is_less;
    });
    return status;
  }

  Writer& out_;
  const JsonStyle& style_;
};

}  // namespace

Status print_json(Writer& out, const Value& value, const JsonStyle& style) {
  return JsonPrinter(out, style).print(value, 0);
}

}  // namespace kvasir::tokenizer::jinja
