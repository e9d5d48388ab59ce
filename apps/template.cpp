#include "apps/template.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "apps/loaded_model.h"
#include "base/bytes.h"
#include "base/json.h"
#include "format/file_map.h"
#include "tokenizer/chat_template_files.h"

namespace kvasir {
namespace {

using Json = nlohmann::ordered_json;

// "2025-01-31T12:00:00", or with a space, or the date alone; fractions of a second and a zone are passed
// over.
Result<std::chrono::local_seconds> parse_now(const Json& json) {
  const auto wrong = [&] {
    return error(StatusCode::kInvalidArgument, "now: expected a time such as \"2025-01-31T12:00:00\", got {}",
                 json.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60));
  };
  if (!json.is_string()) return wrong();
  const std::string& text = json.get_ref<const std::string&>();
  constexpr std::string_view kPattern = "0000-00-00T00:00:00";
  if (text.size() != 10 && text.size() < kPattern.size()) return wrong();
  int fields[6] = {};
  for (std::size_t i = 0, field = 0; i < std::min(text.size(), kPattern.size()); ++i) {
    if (kPattern[i] == '0') {
      if (text[i] < '0' || text[i] > '9') return wrong();
      fields[field] = fields[field] * 10 + (text[i] - '0');
    } else {
      if (text[i] != kPattern[i] && !(kPattern[i] == 'T' && text[i] == ' ')) return wrong();
      ++field;
    }
  }
  const auto [year, month, day, hour, minute, second] = fields;
  const std::chrono::year_month_day date(std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(month)),
                                         std::chrono::day(static_cast<unsigned>(day)));
  if (!date.ok() || hour > 23 || minute > 59 || second > 59) return wrong();
  return std::chrono::local_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second);
}

// What renders the lines: templates, or why there are none.
struct Source {
  tokenizer::ChatTemplates templates;
  Status parse_failure;
};

Result<std::string> render(const Source& source, std::string_view name, std::string_view line) {
  KVASIR_RETURN_IF_ERROR(source.parse_failure);
  KVASIR_ASSIGN_OR_RETURN(Json context, parse_ordered_json(name, line));
  if (!context.is_object()) {
    return error(StatusCode::kInvalidArgument, "{}: expected an object, got {}", name, context.type_name());
  }
  std::chrono::local_seconds now = tokenizer::local_now();
  if (const auto given = context.find("now"); given != context.end() && !given->is_null()) {
    KVASIR_ASSIGN_OR_RETURN(now, parse_now(*given));
  }
  context.erase("now");
  const tokenizer::ChatTemplates& templates = source.templates;
  if (!context.contains("bos_token") && !templates.bos_token.empty())
    context["bos_token"] = templates.bos_token;
  if (!context.contains("eos_token") && !templates.eos_token.empty())
    context["eos_token"] = templates.eos_token;
  const auto tools = context.find("tools");
  const bool has_tools = tools != context.end() && tools->is_array() && !tools->empty();
  return templates.select(has_tools)->render(context, now);
}

Result<Source> open_source(const TemplateOptions& options) {
  Source source;
  if (options.file.empty()) {
    KVASIR_ASSIGN_OR_RETURN(format::ModelFiles files, open_model_files(options.model));
    KVASIR_ASSIGN_OR_RETURN(source.templates, tokenizer::load_chat_templates(files));
    if (source.templates.chat == nullptr) {
      return error(StatusCode::kNotFound, "{}: expected a model with a chat template, got one without",
                   files.name());
    }
    return source;
  }
  KVASIR_ASSIGN_OR_RETURN(const format::FileMap file, format::FileMap::open(options.file));
  auto parsed = tokenizer::ChatTemplate::parse(options.file, as_text(file.bytes()));
  if (parsed.ok()) {
    source.templates.chat = std::move(*parsed);
  } else {
    source.parse_failure = parsed.status();
  }
  return source;
}

}  // namespace

Status render_templates(const TemplateOptions& options, std::istream& in, std::ostream& out) {
  KVASIR_ASSIGN_OR_RETURN(const Source source, open_source(options));
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    const std::string name = fmt::format("standard input, line {}", ++number);
    if (line.empty()) continue;
    const Result<std::string> text = render(source, name, line);
    const Json answer = text.ok() ? Json{{"text", *text}} : Json{{"error", text.status().message()}};
    // In ASCII: what Unicode has as line ends would end a line for some readers.
    out << answer.dump(-1, ' ', true, Json::error_handler_t::replace) << '\n' << std::flush;
  }
  return Status();
}

}  // namespace kvasir
