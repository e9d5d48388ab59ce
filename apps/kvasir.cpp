// The kvasir binary: reads flags, builds the objects, runs one command.

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <iostream>
#include <limits>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stop_token>
#include <thread>

#include "api/api_service.h"
#include "apps/hub_commands.h"
#include "apps/loaded_model.h"
#include "apps/memory_plan.h"
#include "apps/options.h"
#include "apps/perplexity.h"
#include "apps/served_model.h"
#include "apps/template.h"
#include "apps/write_gguf.h"
#include "base/json.h"
#include "bench/bench.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/version.h"

namespace kvasir {
namespace {

using nlohmann::json;

// Standard output is for results; the log goes to standard error, in colour on a terminal.
void set_up_log(const std::string& level) {
  auto logger = spdlog::stderr_color_mt("kvasir");
  logger->set_pattern("%^%l%$ %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(logger);
}

Status serve(const ModelOptions& model_options, const EngineOptions& engine_options,
             const HttpOptions& http_options, const ServeOptions& serve_options) {
  KVASIR_ASSIGN_OR_RETURN(engine::EngineConfig engine_config, engine_options.engine_config());
  KVASIR_ASSIGN_OR_RETURN(const server::HttpConfig http_config, http_options.http_config());
  KVASIR_ASSIGN_OR_RETURN(const std::size_t reply_memory_bytes, serve_options.reply_memory_bytes());
  const SteadyClock clock;
  ServedModel served;
  std::unique_ptr<engine::Engine> engine;
  std::unique_ptr<server::Metrics> metrics;
  std::unique_ptr<api::ApiService> service;
  Status outcome;
  // After what it refers to: its destructor cancels requests that were not finished.
  KVASIR_ASSIGN_OR_RETURN(const auto server, server::HttpServer::listen(http_config));
  const int port = server->port();
  // The server answers "loading" meanwhile.
  std::stop_source stopping;
  std::thread loading([&] {
    const auto load = [&]() -> Status {
      KVASIR_ASSIGN_OR_RETURN(served, load_served_model(model_options, serve_options, planning(engine_config),
                                                        stopping.get_token()));
      KVASIR_ASSIGN_OR_RETURN(engine, engine::Engine::start(*served.loaded.model, engine_config, clock));
      api::ApiService::Parts parts = served.parts(*engine, clock);
      parts.request_timeout = std::chrono::seconds(serve_options.request_timeout_seconds);
      parts.reply_memory_bytes = reply_memory_bytes;
      metrics = std::make_unique<server::Metrics>(served.facts.name);
      parts.on_reply = [&](const api::RequestOutcome& reply) { metrics->on_finished(reply); };
      service = std::make_unique<api::ApiService>(std::move(parts));
      return Status();
    };
    try {
      outcome = load();
    } catch (const std::exception& failure) {
      outcome = error(StatusCode::kInternal, "the model could not be loaded: {}", failure.what());
    }
    if (!outcome.ok()) {
      server->stop();
      return;
    }
    server->set_service(*service, *metrics);
    const kv::KvCacheStats cache = engine->stats().cache;
    spdlog::info("KV cache: {} MiB for {} tokens", cache.bytes_budget >> 20,
                 cache.blocks_total * engine_config.block_size);
    const bool is_ipv6 = http_config.host.find(':') != std::string::npos;
    spdlog::info("serving {} at http://{}{}{}:{}", served.facts.name, is_ipv6 ? "[" : "", http_config.host,
                 is_ipv6 ? "]" : "", port);
  });
  server->run();
  stopping.request_stop();
  loading.join();
  if (engine) engine->stop();
  if (outcome.code() == StatusCode::kCancelled) outcome = Status();
  if (outcome.ok()) spdlog::info("stopped");
  return outcome;
}

// Streams one reply to standard output.
Status generate(const ModelOptions& model_options, const EngineOptions& engine_options,
                const api::GenerationSpec& spec) {
  KVASIR_ASSIGN_OR_RETURN(engine::EngineConfig engine_config, engine_options.engine_config());
  KVASIR_ASSIGN_OR_RETURN(const ServedModel served,
                          load_served_model(model_options, {}, planning(engine_config)));
  const SteadyClock clock;
  KVASIR_ASSIGN_OR_RETURN(const auto engine,
                          engine::Engine::start(*served.loaded.model, engine_config, clock));
  api::ApiService service(served.parts(*engine, clock));
  std::mutex mutex;
  std::condition_variable changed;
  bool is_notified = false;
  const auto notify = [&] {
    {
      const std::lock_guard lock(mutex);
      is_notified = true;
    }
    changed.notify_one();
  };
  auto started = service.generate(spec, notify);
  if (const auto* refusal = std::get_if<api::Refusal>(&started)) return refusal->status;
  api::Generation& generation = *std::get<std::unique_ptr<api::Generation>>(started);
  while (!generation.has_ended()) {
    if (const auto delta = generation.next()) {
      std::cout << delta->text << std::flush;
    } else if (!generation.has_ended()) {
      std::unique_lock lock(mutex);
      changed.wait(lock, [&] { return std::exchange(is_notified, false); });
    }
  }
  std::cout << std::endl;
  engine->stop();
  return generation.status();
}

// Calls answer(object) for each JSON object of standard input, a line each, and prints what it returns.
template <typename Answer>
Status for_each_line(const Answer& answer) {
  int number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const std::string name = fmt::format("standard input, line {}", ++number);
    if (line.empty()) continue;
    KVASIR_ASSIGN_OR_RETURN(const json object, parse_json(name, line));
    const auto result = [&]() -> Result<json> {
      try {
        return answer(object);
      } catch (const json::exception& failure) {
        return error(StatusCode::kInvalidArgument, "{}", failure.what());
      }
    }();
    if (!result.ok()) return error(StatusCode::kInvalidArgument, "{}: {}", name, result.status().message());
    std::cout << result->dump(-1, ' ', false, json::error_handler_t::replace) << '\n' << std::flush;
  }
  return Status();
}

Status tokenize(const std::string& name) {
  KVASIR_ASSIGN_OR_RETURN(format::ModelFiles files, open_model_files(name));
  KVASIR_ASSIGN_OR_RETURN(const auto tokenizer, load_tokenizer(files));
  return for_each_line([&](const json& line) -> Result<json> {
    if (line.contains("text")) {
      const bool adds = line.value("add_special_tokens", true);
      KVASIR_ASSIGN_OR_RETURN(auto ids, tokenizer->encode(line.at("text").get<std::string>(), {adds}));
      return json{{"ids", std::move(ids)}};
    }
    const bool skips = line.value("skip_special_tokens", true);
    const auto ids = line.at("ids").get<std::vector<TokenId>>();
    for (const TokenId id : ids) {
      if (id >= 0 && id < tokenizer->vocab_size()) continue;
      return error(StatusCode::kInvalidArgument, "ids: expected ids below {}, got {}",
                   tokenizer->vocab_size(), id);
    }
    return json{{"text", tokenizer->decode(ids, {skips})}};
  });
}

// Keys and values in f32 too, so that the numbers are those of an f32 reference.
Status logits(const ModelOptions& options) {
  constexpr int kBlockSize = 16;
  KVASIR_ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(options));
  model::Model& model = *loaded.model;
  return for_each_line([&](const json& line) -> Result<json> {
    const auto tokens = line.at("tokens").get<std::vector<TokenId>>();
    const int context = model.config().max_position_embeddings, vocab_size = model.config().vocab_size;
    if (tokens.empty() || tokens.size() > static_cast<std::size_t>(context)) {
      return error(StatusCode::kInvalidArgument, "tokens: expected 1 to {} ids, got {}", context,
                   tokens.size());
    }
    for (const TokenId token : tokens) {
      if (token < 0 || token >= vocab_size) {
        return error(StatusCode::kInvalidArgument, "tokens: expected ids below {}, got {}", vocab_size,
                     token);
      }
    }
    const int num_blocks = (static_cast<int>(tokens.size()) - 1) / kBlockSize + 1;
    KVASIR_ASSIGN_OR_RETURN(
        backend::KvPool pool,
        backend::KvPool::create(model.kv_layout(kBlockSize, backend::KvDtype::kF32), num_blocks));
    std::vector<BlockId> table;
    for (int i = 0; i < num_blocks; ++i) table.push_back(BlockId{i});
    const model::SequenceSlice slice = {tokens, 0, table, 1};
    const std::span<const float> result = model.forward({&slice, 1}, pool);
    return json{{"logits", std::vector<float>(result.begin(), result.end())}};
  });
}

Status perplexity(const ModelOptions& model_options, PerplexityOptions options, const std::string& kv_dtype) {
  KVASIR_ASSIGN_OR_RETURN(options.kv_dtype, kv_dtype_of(kv_dtype));
  KVASIR_ASSIGN_OR_RETURN(const LoadedModel loaded, load_model(model_options));
  KVASIR_ASSIGN_OR_RETURN(const auto tokenizer, load_tokenizer(*loaded.files));
  KVASIR_ASSIGN_OR_RETURN(const Perplexity result, measure_perplexity(loaded, *tokenizer, options));
  std::cout << fmt::format(
      "perplexity {:.5f}, standard error {:.5f}, {} tokens scored in windows of {}, dtype {}, kv-dtype {}\n",
      result.value, result.standard_error, result.num_tokens, result.context,
      dtype_name(loaded.model->dtype()), kv_dtype);
  return Status();
}

// Says what is wrong with the command line; what the process exits with.
int explain(const CLI::App& app, const CLI::ParseError& failure, int argc, char** argv) {
  if (app.exit(failure) == 0) return 0;
  const std::string_view first = argc > 1 ? argv[1] : "";
  const auto is_it = [&](const CLI::App* command) { return command->get_name() == first; };
  if (!first.empty() && first[0] != '-' && app.get_subcommands(is_it).empty()) {
    std::cerr << fmt::format("'{}' is not a command\n", first);
  }
  const std::string variable = variable_behind(app, failure.what());
  const bool is_flag = std::any_of(argv, argv + argc, [&](std::string_view argument) {
    return argument.starts_with("--") &&
           std::string_view(failure.what()).starts_with(argument.substr(0, argument.find('=')));
  });
  if (!variable.empty() && !is_flag) {
    std::cerr << fmt::format("{} is set to that, in the environment or in the file .env\n", variable);
  }
  return 1;
}

int run(int argc, char** argv) {
  const Status dotenv = load_dotenv(".env");
  CLI::App app("Kvasir: an LLM inference server that never computes a prompt's prefix twice.", "kvasir");
  app.require_subcommand(1);
  app.footer(
      "Each flag of serve is also an environment variable, for the other commands too: --kv-cache-memory is "
      "KVASIR_KV_CACHE_MEMORY. A file .env in the working directory may set them.\nStart with: kvasir serve");

  // Of each command its own: a variable in the environment is read for all of them.
  ModelOptions serve_model, generate_model, tokenize_model, logits_model, perplexity_model;
  EngineOptions serve_engine, generate_engine;
  HttpOptions http_options;
  ServeOptions serve_options;
  api::GenerationSpec spec;
  std::string prompt;
  int max_new_tokens = 128;
  PerplexityOptions perplexity_options;
  TemplateOptions template_options;

  CLI::App* serve_command = app.add_subcommand("serve", "Serve a model over HTTP");
  add_model_options(*serve_command, serve_model);
  add_serve_options(*serve_command, serve_options);
  add_http_options(*serve_command, http_options);
  add_engine_options(*serve_command, serve_engine);

  CLI::App* generate_command = app.add_subcommand("generate", "Write a reply to a prompt to the terminal");
  add_model_options(*generate_command, generate_model);
  add_engine_options(*generate_command, generate_engine);
  generate_command->add_option("--prompt", prompt, "The text to continue")->required();
  generate_command->add_option("--max-new-tokens", max_new_tokens, "Length of the reply at most")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  generate_command->add_option("--temperature", spec.sampling.temperature, "0: the likeliest token each time")
      ->check(CLI::Range(0.0f, 100.0f))
      ->capture_default_str();
  generate_command->add_option("--top-k", spec.sampling.top_k, "Draw from the k likeliest; 0: from all")
      ->check(CLI::NonNegativeNumber);
  generate_command
      ->add_option("--top-p", spec.sampling.top_p, "Draw from the likeliest that make up this share")
      ->check(CLI::Range(0.0f, 1.0f));
  generate_command->add_option("--seed", spec.sampling.seed, "The same seed gives the same reply");

  CLI::App* tokenize_command = app.add_subcommand(
      "tokenize",
      "Turn JSON lines {\"text\":...} into {\"ids\":[...]}, and {\"ids\":[...]} into {\"text\":...}");
  tokenize_command
      ->add_option("--model", tokenize_model.model, "Folder, GGUF file or hub's model with a tokenizer")
      ->envname("KVASIR_MODEL");

  CLI::App* template_command = app.add_subcommand(
      "template", "Turn JSON lines {\"messages\":[...],...} into {\"text\":...} or {\"error\":...}");
  template_command->add_option("--template", template_options.file, "File with a Jinja chat template");
  template_command
      ->add_option("--model", template_options.model,
                   "The model whose chat template it is, as for serve, where --template names none")
      ->envname("KVASIR_MODEL");

  CLI::App* logits_command = app.add_subcommand(
      "logits", "Turn JSON lines {\"tokens\":[...]} into {\"logits\":[...]} of the last position");
  add_model_options(*logits_command, logits_model);

  CLI::App* perplexity_command = app.add_subcommand(
      "perplexity", "How well the model predicts a text: exp(mean negative log likelihood)");
  add_model_options(*perplexity_command, perplexity_model);
  std::string perplexity_kv_dtype = "f32";
  add_kv_dtype_option(*perplexity_command, perplexity_kv_dtype)->envname("");  // a server's is not its
  perplexity_command->add_option("--file", perplexity_options.file, "The text")->required();
  perplexity_command
      ->add_option("--context", perplexity_options.context,
                   "Tokens in a window; each is predicted from those before it in its window. 0: 512, or the "
                   "model's context if that is less")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();

  std::string reference;
  const auto add_reference = [&](CLI::App& command, const char* help) {
    command.add_option("MODEL", reference, help)->required();
  };
  CLI::App* pull_command = app.add_subcommand(
      "pull", "Download a model of the Hugging Face hub, or what has changed of it, and print where it is");
  add_reference(*pull_command, "org/name, org/name@revision, or org/name:Q4_K_M for one of its GGUF files");
  CLI::App* models_command = app.add_subcommand("models", "List the models in the Hugging Face cache");
  CLI::App* rm_command = app.add_subcommand("rm", "Remove a model from the Hugging Face cache");
  add_reference(*rm_command, "org/name, or org/name@revision and org/name:FILE for a part of it");
  GgufOptions gguf_options;
  CLI::App* quantize_command =
      app.add_subcommand("quantize", "Write a model as a GGUF file with weights of 8 or 4 bits");
  CLI::App* convert_command = app.add_subcommand(
      "convert", "Write a model of any family that Kvasir runs as a GGUF file with the weights that it has");
  for (CLI::App* command : {quantize_command, convert_command}) {
    command->add_option("IN", gguf_options.input, "Folder of a Hugging Face model, or a GGUF file")
        ->required();
    command->add_option("OUT", gguf_options.output, "The file to write, *.gguf")->required();
    command->add_flag("--force", gguf_options.replaces, "Replace OUT if it is there already");
  }
  quantize_command->add_option("--type", gguf_options.type, "Type of the weights: q8_0, q4_0 or q4_k")
      ->check(CLI::IsMember({"q8_0", "q4_0", "q4_k"}))
      ->required();

  const bench::Command bench = bench::add_bench(app);

  CLI::App* version_command = app.add_subcommand("version", "Print the version");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& failure) {
    return explain(app, failure, argc, argv);
  }
  const bool is_quiet = !serve_command->parsed();
  set_up_log(is_quiet ? "warn" : http_options.log_level);
  if (serve_command->parsed()) {
    for (const std::string& name : unknown_variables(app)) {
      spdlog::warn("{} is set and is not a setting: kvasir serve --help has them", name);
    }
  }
  Status status = dotenv;
  if (!status.ok()) {
  } else if (serve_command->parsed()) {
    status = serve(serve_model, serve_engine, http_options, serve_options);
  } else if (generate_command->parsed()) {
    spec.prompts = {prompt};
    spec.max_new_tokens = max_new_tokens;
    status = generate(generate_model, generate_engine, spec);
  } else if (tokenize_command->parsed()) {
    status = tokenize(tokenize_model.model);
  } else if (template_command->parsed()) {
    status = render_templates(template_options, std::cin, std::cout);
  } else if (logits_command->parsed()) {
    status = logits(logits_model);
  } else if (perplexity_command->parsed()) {
    status = perplexity(perplexity_model, perplexity_options, perplexity_kv_dtype);
  } else if (pull_command->parsed()) {
    status = pull_model(reference, std::cout);
  } else if (models_command->parsed()) {
    status = list_cached_models(std::cout);
  } else if (rm_command->parsed()) {
    status = remove_cached_model(reference, std::cout);
  } else if (quantize_command->parsed() || convert_command->parsed()) {
    status = write_gguf(gguf_options);
  } else if (bench.app->parsed()) {
    status = bench.run();
  } else if (version_command->parsed()) {
    std::cout << "kvasir " << server::kVersion << '\n';
  }
  if (status.ok() && !std::cout.flush()) status = error(StatusCode::kIo, "standard output cannot be written");
  if (status.ok()) return 0;
  std::cerr << "kvasir: " << status.message() << '\n';
  return 1;
}

}  // namespace
}  // namespace kvasir

int main(int argc, char** argv) {
  return kvasir::run(argc, argv);
}
