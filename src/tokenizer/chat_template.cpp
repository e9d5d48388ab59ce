#include "tokenizer/chat_template.h"

#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

#include "tokenizer/jinja/builtins.h"
#include "tokenizer/jinja/interpreter.h"
#include "tokenizer/jinja/parser.h"
#include "tokenizer/unicode.h"

namespace kvasir::tokenizer {

struct ChatTemplate::Impl {
  std::string name, source;
  TemplateLimits limits;
  jinja::SyntaxTree tree;
};

std::chrono::local_seconds local_now() {
  const std::time_t now = std::time(nullptr);
  std::tm fields{};
  localtime_r(&now, &fields);
  const std::chrono::year_month_day date(std::chrono::year(fields.tm_year + 1900),
                                         std::chrono::month(static_cast<unsigned>(fields.tm_mon + 1)),
                                         std::chrono::day(static_cast<unsigned>(fields.tm_mday)));
  return std::chrono::local_days(date) + std::chrono::hours(fields.tm_hour) +
         std::chrono::minutes(fields.tm_min) + std::chrono::seconds(fields.tm_sec);
}

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::~ChatTemplate() = default;

const std::string& ChatTemplate::source() const {
  return impl_->source;
}

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::parse(std::string_view name, std::string_view source,
                                                          const TemplateLimits& limits) {
  if (source.size() > limits.max_source_bytes) {
    return error(StatusCode::kUnsupported, "{}: expected a template of at most {} bytes, got {}", name,
                 limits.max_source_bytes, source.size());
  }
  if (!is_valid_utf8(source)) {
    return error(StatusCode::kCorrupt, "{}: expected a template in UTF-8, got other bytes", name);
  }
  Result<jinja::SyntaxTree> tree = jinja::parse(source);
  if (!tree.ok()) return error(tree.status().code(), "{}, {}", name, tree.status().message());
  auto impl = std::make_unique<Impl>(Impl{std::string(name), std::string(source), limits, std::move(*tree)});
  return std::unique_ptr<ChatTemplate>(new ChatTemplate(std::move(impl)));
}

Result<std::string> ChatTemplate::render(const nlohmann::ordered_json& context,
                                         std::chrono::local_seconds now) const {
  if (!context.is_object()) {
    return error(StatusCode::kInvalidArgument, "{}: expected an object with the template's variables, got {}",
                 impl_->name, context.type_name());
  }
  jinja::Runtime runtime(impl_->limits, now);
  jinja::Interpreter interpreter(impl_->tree, runtime);
  const auto render = [&]() -> Result<std::string> {
    for (const jinja::Builtin& builtin : jinja::globals()) {
      KVASIR_ASSIGN_OR_RETURN(const jinja::Value function, runtime.method(builtin.name, builtin, {}));
      interpreter.define(builtin.name, function);
    }
    interpreter.define("tools", jinja::make_none());
    interpreter.define("documents", jinja::make_none());
    interpreter.define("add_generation_prompt", jinja::make_bool(false));
    for (const auto& [key, json] : context.items()) {
      KVASIR_ASSIGN_OR_RETURN(const jinja::Value value, jinja::from_json(runtime, json));
      interpreter.define(key, value);
    }
    return interpreter.render();
  };
  Result<std::string> text = render();
  if (text.ok() || runtime.has_raised()) return text;
  return error(StatusCode::kInvalidArgument, "{}, line {}: {}", impl_->name, interpreter.line(),
               text.status().message());
}

}  // namespace kvasir::tokenizer
