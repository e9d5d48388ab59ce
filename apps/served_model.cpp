#include "apps/served_model.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>

#include "hub/model_reference.h"
#include "tokenizer/turn_rewrite.h"

namespace kvasir {
namespace {

// For models that have none: what a model that was not trained on conversations is likeliest to go on with.
constexpr char kPlainTemplate[] =
    "{% for message in messages %}{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% else %}{{ message.role | capitalize }}: {{ message.content }}\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}";

Result<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return error(StatusCode::kIo, "--chat-template: cannot read '{}'", path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The model's own templates, the user's, or the plain one.
Status load_templates(const std::string& path, ServedModel& served) {
  tokenizer::ChatTemplates& templates = served.templates;
  KVASIR_ASSIGN_OR_RETURN(templates, tokenizer::load_chat_templates(*served.loaded.files));
  if (!path.empty()) {
    KVASIR_ASSIGN_OR_RETURN(const std::string source, read_file(path));
    KVASIR_ASSIGN_OR_RETURN(templates.chat, tokenizer::ChatTemplate::parse(path, source));
    templates.tool_use.reset();
  } else if (!templates.chat) {
    spdlog::warn(
        "the model has no chat template: conversations get a plain one; --chat-template names another");
    KVASIR_ASSIGN_OR_RETURN(templates.chat,
                            tokenizer::ChatTemplate::parse("the plain chat template", kPlainTemplate));
  }
  const auto rewrite =
      tokenizer::find_turn_rewrite(*templates.chat, templates.bos_token, templates.eos_token);
  if (!rewrite.ok()) {
    spdlog::warn("the chat template refuses a plain conversation: {}", rewrite.status().message());
  } else if (*rewrite) {
    spdlog::warn(
        "the chat template changes earlier turns, so that conversations are found in the cache in part only: "
        "{}",
        **rewrite);
  }
  const std::string_view source = templates.select(true)->source();
  served.facts.tool_format = api::detect_tool_format(source).value_or(api::ToolFormat::kHermes);
  served.facts.tool_syntax = api::tool_call_syntax(served.facts.tool_format, source);
  return Status();
}

std::string name_of(const ModelOptions& options) {
  if (options.model.empty()) return "kvasir-tiny";
  const auto reference = hub::parse_model_reference(options.model);
  if (reference.ok() && reference->kind == hub::ModelReference::Kind::kRepo) return reference->text();
  const std::filesystem::path path = std::filesystem::path(options.model).lexically_normal();
  const std::string name =
      path.has_filename() ? path.filename().string() : path.parent_path().filename().string();
  return name.empty() ? "model" : name;
}

}  // namespace

Result<ServedModel> load_served_model(const ModelOptions& model_options, const ServeOptions& options,
                                      const CheckMemory& check_memory, const std::stop_token& stop) {
  ServedModel served;
  KVASIR_ASSIGN_OR_RETURN(served.loaded, load_model(model_options, check_memory, stop));
  KVASIR_ASSIGN_OR_RETURN(served.tokenizer, load_tokenizer(*served.loaded.files));
  KVASIR_RETURN_IF_ERROR(load_templates(options.chat_template, served));

  const model::ModelConfig& config = served.loaded.model->config();
  api::ModelFacts& facts = served.facts;
  facts.name = options.names.empty() ? name_of(model_options) : options.names.front();
  if (options.names.size() > 1) facts.aliases.assign(options.names.begin() + 1, options.names.end());
  facts.vocab_size = config.vocab_size;
  facts.context = config.max_position_embeddings;
  facts.eos_token_ids = config.eos_token_ids;
  return served;
}

api::ApiService::Parts ServedModel::parts(engine::Engine& engine, const Clock& clock) const {
  return {*tokenizer, templates, engine, clock, facts};
}

}  // namespace kvasir
