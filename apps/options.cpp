#include "apps/options.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include "base/memory.h"

namespace kvasir {
namespace {

constexpr std::pair<const char*, model::WeightDtype> kDtypes[] = {
    {"auto", model::WeightDtype::kAuto}, {"f32", model::WeightDtype::kF32},
    {"f16", model::WeightDtype::kF16},   {"bf16", model::WeightDtype::kBf16},
    {"q8_0", model::WeightDtype::kQ8_0}, {"q4_0", model::WeightDtype::kQ4_0}};

constexpr std::pair<const char*, backend::KvDtype> kKvDtypes[] = {
    {"f16", backend::KvDtype::kF16}, {"f32", backend::KvDtype::kF32}, {"q8", backend::KvDtype::kQ8}};

// The names of such a table.
template <typename Table>
std::vector<std::string> names_of(const Table& table) {
  std::vector<std::string> names;
  for (const auto& [name, value] : table) names.emplace_back(name);
  return names;
}

// --kv-cache-memory has KVASIR_KV_CACHE_MEMORY.
std::string variable_of(const std::string& flag) {
  std::string variable = "KVASIR_" + flag.substr(2);
  for (char& c : variable)
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return variable;
}

std::string trim(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return std::string(text);
}

// A flag with its variable.
template <typename T>
CLI::Option* add(CLI::App& command, const std::string& flag, T& value, const std::string& help) {
  return command.add_option(flag, value, help)->envname(variable_of(flag));
}

// One that may be given more than once, or with commas between. A key that is empty would be an open door.
CLI::Option* add_list(CLI::App& command, const std::string& flag, std::vector<std::string>& values,
                      const std::string& help) {
  const auto split = [&values](const std::vector<std::string>& given) {
    for (const std::string& list : given) {
      for (std::size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
        end = list.find(',', begin);
        values.push_back(trim(std::string_view(list).substr(begin, end - begin)));
        if (values.back().empty()) return false;
      }
    }
    return true;
  };
  const auto take = [split, flag](const std::vector<std::string>& given) {
    if (!split(given))
      throw CLI::ValidationError(flag, "expected values with commas between, got an empty one");
  };
  return command.add_option_function<std::vector<std::string>>(flag, take, help)
      ->type_name("TEXT,...")
      ->envname(variable_of(flag))
      ->allow_extra_args(false);
}

std::string not_empty(const std::string& value) {
  return value.empty() ? "expected a value, got an empty one" : "";
}

CLI::Option* add_switch(CLI::App& command, const std::string& flag, bool& value, const std::string& help) {
  return command.add_flag(flag, value, help)->envname(variable_of(flag));
}

bool is_name(const std::string& text) {
  return !text.empty() && !std::isdigit(static_cast<unsigned char>(text[0])) &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; });
}

Result<std::size_t> memory_size(const char* flag, const std::string& value) {
  Result<std::size_t> bytes = parse_memory_size(value);
  if (!bytes.ok()) return error(StatusCode::kInvalidArgument, "{}: {}", flag, bytes.status().message());
  return bytes;
}

}  // namespace

Result<model::WeightDtype> ModelOptions::weight_dtype() const {
  for (const auto& [name, value] : kDtypes) {
    if (name == dtype) return value;
  }
  return error(StatusCode::kInvalidArgument, "--dtype: unknown type '{}'", dtype);
}

const char* dtype_name(model::WeightDtype dtype) {
  for (const auto& [name, value] : kDtypes) {
    if (value == dtype) return name;
  }
  return "";
}

Result<backend::KvDtype> kv_dtype_of(const std::string& name) {
  for (const auto& [known, value] : kKvDtypes) {
    if (known == name) return value;
  }
  return error(StatusCode::kInvalidArgument, "--kv-dtype: unknown type '{}'", name);
}

Result<engine::EngineConfig> EngineOptions::engine_config() const {
  engine::EngineConfig result = config;
  KVASIR_ASSIGN_OR_RETURN(result.kv_dtype, kv_dtype_of(kv_dtype));
  result.max_age = std::chrono::seconds(max_age_seconds);
  if (kv_cache_memory.empty()) return result;
  KVASIR_ASSIGN_OR_RETURN(result.kv_cache_memory, memory_size("--kv-cache-memory", kv_cache_memory));
  return result;
}

Result<std::size_t> ServeOptions::reply_memory_bytes() const {
  return memory_size("--reply-memory", reply_memory);
}

Result<server::HttpConfig> HttpOptions::http_config() const {
  server::HttpConfig result = http;
  std::string& host = result.host;
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);  // as in a URL
  for (const std::string& origin : result.cors_origins) {
    if (origin == "*" || origin == "null" || origin.find("://") != std::string::npos) continue;
    return error(StatusCode::kInvalidArgument,
                 "--cors-origin: expected an origin such as https://chat.example, or *, got '{}'", origin);
  }
  if (api_key_file.empty()) return result;
  std::ifstream file(api_key_file);
  if (!file) return error(StatusCode::kIo, "--api-key-file: cannot read '{}'", api_key_file);
  for (std::string line; std::getline(file, line);) {
    std::string key = trim(line);
    if (!key.empty() && key[0] != '#') result.api_keys.push_back(std::move(key));
  }
  // Whoever names a file wants a locked door.
  if (result.api_keys.empty())
    return error(StatusCode::kInvalidArgument, "--api-key-file: no key in '{}'", api_key_file);
  return result;
}

void add_model_options(CLI::App& command, ModelOptions& options) {
  add(command, "--model", options.model,
      "A model of the Hugging Face hub, org/name[@revision], which is downloaded unless it is there; the "
      "folder of one (config.json, *.safetensors, tokenizer.json); or a GGUF file; without it the small "
      "model "
      "in this binary");
  add(command, "--threads", options.threads, "Threads that compute; 0: as many as there are physical cores")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  add(command, "--max-model-len", options.max_model_len,
      "Tokens of prompt and reply together at most; 0: as many as the model's context. Up to its original "
      "context, a model with longrope (Phi 3) uses its factors for short texts")
      ->check(CLI::Range(0, 1 << 24))
      ->capture_default_str();
  add(command, "--dtype", options.dtype,
      "Type of the weights in memory; auto: q8_0 for models of more than 100 million weights, as stored for "
      "smaller "
      "ones")
      ->check(CLI::IsMember(names_of(kDtypes)))
      ->capture_default_str();
  add(command, "--device", options.device, "Where the model runs; auto: on the CPU")
      ->check(CLI::IsMember({"auto", "cpu"}))
      ->capture_default_str();
  add(command, "--weight-cache", options.weight_cache,
      "Folder in which converted weights are kept, so that the next start need not convert them; off by "
      "default");
}

CLI::Option* add_kv_dtype_option(CLI::App& command, std::string& kv_dtype) {
  return add(command, "--kv-dtype", kv_dtype,
             "Type of keys and values in memory; q8: 8 bits and a scale for each head and token, half the "
             "memory of "
             "f16")
      ->check(CLI::IsMember(names_of(kKvDtypes)))
      ->capture_default_str();
}

void add_engine_options(CLI::App& command, EngineOptions& options) {
  engine::EngineConfig& config = options.config;
  add(command, "--kv-cache-memory", options.kv_cache_memory,
      "Memory for keys and values, running and cached, such as 512MiB or 2GiB; default: a quarter of the "
      "memory that this process may use, or what the model leaves of it");
  add_kv_dtype_option(command, options.kv_dtype);
  add(command, "--block-size", config.block_size,
      "Tokens in a block of the cache, a multiple of 16 up to 1024")
      ->check(CLI::Range(16, 1024))
      ->check([](const std::string& value) {
        return std::stoi(value) % 16 == 0 ? "" : "expected a multiple of 16, got " + value;
      })
      ->capture_default_str();
  add(command, "--min-tokens", config.min_tokens,
      "Shorter prompts are not cached, shorter matches are not used")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add(command, "--max-entries", config.max_entries, "Cached prompts at most; 0: as many as the memory holds")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add(command, "--max-age-seconds", options.max_age_seconds,
      "Age at which a cached prompt expires, used or not")
      ->check(CLI::Range(0, 1'000'000'000))
      ->capture_default_str();
  add(command, "--max-batch-tokens", config.max_batch_tokens,
      "Tokens computed in one step: smaller is smoother for those that are decoding, larger is faster in all")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  add(command, "--max-running-requests", config.max_running_sequences, "Requests that run at the same time")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  add(command, "--max-queued-requests", config.max_queued_requests,
      "Requests that wait, each of the replies of one counted; one more gets status 429")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  add(command, "--max-queued-tokens", config.max_queued_tokens,
      "Prompt tokens of the requests that wait; beyond them a request gets status 429. 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
}

void add_serve_options(CLI::App& command, ServeOptions& options) {
  add_list(command, "--served-model-name", options.names,
           "Names by which clients ask for the model, the first one in its answers; default: org/name, or "
           "the folder's name");
  add(command, "--chat-template", options.chat_template,
      "File with a chat template in place of the model's own")
      ->check(CLI::ExistingFile);
  add(command, "--request-timeout", options.request_timeout_seconds,
      "Seconds after which a request ends with an error, queued or running; 0: never")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  add(command, "--reply-memory", options.reply_memory,
      "Memory for the tokens of replies given, with which the next turn of a conversation finds all of the "
      "last one in the cache")
      ->capture_default_str();
}

void add_http_options(CLI::App& command, HttpOptions& options) {
  server::HttpConfig& config = options.http;
  add(command, "--host", config.host, "Address to listen at; 0.0.0.0 for all")
      ->check(not_empty)
      ->capture_default_str();
  add(command, "--port", config.port, "Port to listen at; 0: any free one")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  add_list(command, "--api-key", options.http.api_keys,
           "A key that clients must send; may be given more than once. Each key has a cache of its own");
  add(command, "--api-key-file", options.api_key_file, "File with such keys, one to a line")
      ->check(not_empty);
  add_list(command, "--admin-key", options.http.admin_keys,
           "A key for the routes of the cache, which clients' keys do not open; it opens all others too");
  add_switch(
      command, "--share-cache-across-keys", options.http.share_cache_across_keys,
      "Let clients with different keys use one cache: from its speed each can tell what others have asked");
  add_list(command, "--cors-origin", options.http.cors_origins,
           "Origin of web pages that may call the server, such as https://chat.example; * for all. May be "
           "given more "
           "than once");
  add(command, "--log-level", options.log_level, "What is logged: debug, info, warn, error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
}

namespace {

// What stands behind the = of a line: in quotes, or up to a comment. nullopt: a quote that does not end.
std::optional<std::string> dotenv_value(std::string_view text) {
  std::string value = trim(text);
  const char quote = value.empty() ? ' ' : value[0];
  if (quote == '"' || quote == '\'') {
    const std::size_t end = value.find(quote, 1);
    if (end == std::string::npos) return std::nullopt;
    const std::string rest = trim(std::string_view(value).substr(end + 1));
    if (!rest.empty() && rest[0] != '#') return std::nullopt;
    return value.substr(1, end - 1);
  }
  if (quote == '#') return "";
  return trim(std::string_view(value).substr(0, std::min(value.find(" #"), value.find("\t#"))));
}

}  // namespace

Status load_dotenv(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return Status();
  std::ifstream file(path);
  int number = 0;
  for (std::string line; std::getline(file, line);) {
    if (++number == 1 && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);  // some editors' mark of UTF-8
    std::string text = trim(line);
    if (text.empty() || text[0] == '#') continue;
    if (text.starts_with("export ")) text = trim(text.substr(7));
    const std::size_t equals = text.find('=');
    const std::string name = trim(text.substr(0, equals));
    std::optional<std::string> value;
    if (equals != std::string::npos && is_name(name)) value = dotenv_value(text.substr(equals + 1));
    if (!value) {
      // The line itself may be a secret.
      return error(StatusCode::kInvalidArgument, "{}:{}: expected NAME=value or NAME=\"value\"", path,
                   number);
    }
    // An empty value is a flag that is not given.
    if (!value->empty()) setenv(name.c_str(), value->c_str(), 0);
  }
  // Keys may stand in it: without them the door would be open.
  if (!file.eof()) return error(StatusCode::kIo, "{}: cannot be read", path);
  return Status();
}

std::string variable_behind(const CLI::App& app, const std::string& message) {
  const std::string flag = message.substr(0, message.find(':'));
  for (const CLI::App* command : app.get_subcommands({})) {
    const CLI::Option* const option = command->get_option_no_throw(flag);
    if (option == nullptr || option->get_envname().empty()) continue;
    if (const char* value = std::getenv(option->get_envname().c_str()); value != nullptr && *value != '\0') {
      return option->get_envname();
    }
  }
  return "";
}

std::vector<std::string> unknown_variables(const CLI::App& app) {
  std::set<std::string> known = {"KVASIR_ISA"};
  for (const CLI::App* command : app.get_subcommands({})) {
    for (const CLI::Option* option : command->get_options()) known.insert(option->get_envname());
  }
  std::vector<std::string> unknown;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    std::string name(text.substr(0, text.find('=')));
    if (name.starts_with("KVASIR_") && !known.contains(name)) unknown.push_back(std::move(name));
  }
  return unknown;
}

}  // namespace kvasir
