#pragma once

// The flags of the kvasir binary. Each is also an environment variable, KVASIR_ and the flag's name in
// capitals, and may stand in a file .env of the working directory; the flag counts before the variable, the
// variable before the file.

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "backend/kv_pool.h"
#include "base/status.h"
#include "engine/engine.h"
#include "model/model.h"
#include "server/http_server.h"

namespace kvasir {

struct ModelOptions {
  std::string model;      // see hub/model_reference.h; empty: the embedded model
  int threads = 0;        // 0: the physical cores that this process may use
  int max_model_len = 0;  // 0: the model's context
  std::string dtype = "auto";
  std::string device = "auto";
  std::string weight_cache;  // a folder; empty: none

  Result<model::WeightDtype> weight_dtype() const;
};

struct EngineOptions {
  engine::EngineConfig config;
  std::string kv_cache_memory;  // empty: as plan_memory() finds
  std::string kv_dtype = "f16";
  int max_age_seconds = 1200;

  // kv_cache_memory is 0 where none is given: see plan_memory().
  Result<engine::EngineConfig> engine_config() const;
};

struct HttpOptions {
  server::HttpConfig http;
  std::string api_key_file;  // empty: none
  std::string log_level = "info";

  // With the keys of the file. Errors: kIo, kInvalidArgument, naming the file.
  Result<server::HttpConfig> http_config() const;
};

// How the model is served to clients.
struct ServeOptions {
  std::vector<std::string> names;  // empty: the model's as it was given, a folder's without its path
  std::string chat_template;       // a file; empty: the model's
  int request_timeout_seconds = 0;
  std::string reply_memory = "64MiB";

  Result<std::size_t> reply_memory_bytes() const;
};

// The flag's name of a type; "auto": as stored.
const char* dtype_name(model::WeightDtype dtype);

// The type of that name in --kv-dtype. Errors: kInvalidArgument.
Result<backend::KvDtype> kv_dtype_of(const std::string& name);
CLI::Option* add_kv_dtype_option(CLI::App& command, std::string& kv_dtype);

// Add the flags to a command.
void add_model_options(CLI::App& command, ModelOptions& options);
void add_engine_options(CLI::App& command, EngineOptions& options);
void add_http_options(CLI::App& command, HttpOptions& options);
void add_serve_options(CLI::App& command, ServeOptions& options);

// Sets the variables of the file .env where they are not set; no file, no effect. A line is NAME=value, with
// or without quotes and `export`; # begins a comment at the beginning of a line and after a space.
// Errors: kIo when there is a file that cannot be read, kInvalidArgument naming the line.
Status load_dotenv(const std::string& path);

// The variable that set the flag with which a message of CLI11's begins; "" when none is set.
std::string variable_behind(const CLI::App& app, const std::string& message);

// Those of the environment that begin like ours and are not: a key with a misspelt name is an open door.
std::vector<std::string> unknown_variables(const CLI::App& app);

}  // namespace kvasir
