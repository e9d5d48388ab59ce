#pragma once

// Between the server's text and the engine's tokens: every route's request is parsed, checked and answered
// here, at once or as a Call. No sockets. Any thread may call it.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "api/call.h"
#include "api/conversation.h"
#include "api/generation.h"
#include "api/routes.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

namespace kvasir::api {

struct HttpReply {
  int status = 200;
  std::string body;
  const char* content_type = "application/json";
};

// Whose request it is.
struct Caller {
  std::string salt;  // joined with the salts of the caller's requests; "" where there are no keys
};

class ApiService {
 public:
  // What it needs beside the engine; all outlive the service.
  struct Parts {
    const tokenizer::Tokenizer& tokenizer;
    const tokenizer::ChatTemplates& templates;
    engine::Engine& engine;
    const Clock& clock;
    ModelFacts model;
    std::chrono::milliseconds request_timeout{0};  // 0: none
    std::size_t reply_memory_bytes = std::size_t{64} << 20;
    std::function<void(const RequestOutcome&)> on_reply =
        {};  // hears of each reply that has ended; any thread
  };
  explicit ApiService(Parts parts);
  ~ApiService();

  using Outcome = std::variant<HttpReply, std::unique_ptr<Call>>;

  // `parameter`: of the path. `notify` is called, on the engine's thread, whenever the call has something
  // new; it must be quick and may outlive the call.
  Outcome handle(const RouteInfo& route, std::string_view parameter, std::string_view body,
                 const Caller& caller, std::function<void()> notify);

  // A generation for the terminal.
  std::variant<std::unique_ptr<Generation>, Refusal> generate(GenerationSpec spec,
                                                              std::function<void()> notify);

  engine::EngineStats engine_stats() const { return environment_.engine.stats(); }
  Status health() const { return environment_.engine.health(); }

 private:
  using Started = std::variant<nlohmann::ordered_json, Refusal, std::unique_ptr<Call>>;

  Started answer(Route route, std::string_view parameter, const nlohmann::ordered_json& body,
                 const Caller& caller, const std::function<void()>& notify);
  Started start_text(Route route, const nlohmann::ordered_json& body, const Caller& caller,
                     const std::function<void()>& notify);
  Started start_chat(Route route, const nlohmann::ordered_json& body, const Caller& caller,
                     const std::function<void()>& notify);
  nlohmann::ordered_json models() const;
  nlohmann::ordered_json cache_stats() const;
  nlohmann::ordered_json clear_cache();

  const ModelFacts model_;
  grammar::GrammarCache grammars_;
  const Environment environment_;
  const ConversationEncoder encoder_;
  ReplyMemory memory_;
  const std::int64_t created_;
};

}  // namespace kvasir::api
