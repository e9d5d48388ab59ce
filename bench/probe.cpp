#include "bench/probe.h"

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <utility>

#include "base/json.h"

namespace kvasir::bench {
namespace {

namespace asio = boost::asio;
using nlohmann::json;

constexpr unsigned kNotFound = 404, kMethodNotAllowed = 405, kNotImplemented = 501;

Result<RawReply> request(const ServerUrl& url, std::chrono::seconds timeout, const std::string& method,
                         const std::string& route, const std::string& body) {
  asio::io_context io{1};
  LoadClient client(io, url, timeout);
  Result<RawReply> reply = error(StatusCode::kInternal, "the request did not run");
  const auto send = [&]() -> asio::awaitable<void> { reply = co_await client.send(method, route, body); };
  asio::co_spawn(io, send(), [](const std::exception_ptr& thrown) {
    if (thrown) std::rethrow_exception(thrown);
  });
  io.run();
  return reply;
}

// Whether a route takes POST: it answers an empty object with a complaint.
Result<bool> has_route(const ServerUrl& url, std::chrono::seconds timeout, const std::string& route) {
  KVASIR_ASSIGN_OR_RETURN(const RawReply reply, request(url, timeout, "POST", route, "{}"));
  return reply.status != kNotFound && reply.status != kMethodNotAllowed && reply.status != kNotImplemented;
}

// The first id that GET /v1/models lists; "" without one.
std::string first_model(const ServerUrl& url, std::chrono::seconds timeout) {
  const Result<RawReply> reply = request(url, timeout, "GET", "/v1/models", "");
  if (!reply.ok() || reply->status != 200) return "";
  const Result<json> models = parse_json("models", reply->body);
  if (!models.ok()) return "";
  try {
    return models->at("data").at(0).at("id").get<std::string>();
  } catch (const json::exception&) {
    return "";  // a server with one model takes any name
  }
}

}  // namespace

Result<Dialect> probe_dialect(const ServerUrl& url, std::string_view api, std::chrono::seconds timeout) {
  if (api != "auto" && api != "generate" && api != "openai") {
    return error(StatusCode::kInvalidArgument, "api: expected auto, generate or openai, got '{}'", api);
  }
  Dialect dialect;
  for (const Api each : {Api::kGenerate, Api::kOpenAi}) {
    if (api == "generate" && each != Api::kGenerate) continue;
    if (api == "openai" && each != Api::kOpenAi) continue;
    dialect.api = each;
    KVASIR_ASSIGN_OR_RETURN(const bool is_there, has_route(url, timeout, dialect.route()));
    if (!is_there) continue;
    if (each == Api::kOpenAi) dialect.model = first_model(url, timeout);
    return dialect;
  }
  return error(StatusCode::kUnsupported, "{}: the server takes no POST at {}", url.text(),
               api == "auto" ? "/generate and /v1/completions" : dialect.route());
}

Result<Prompts> calibrate(const ServerUrl& url, const Dialect& dialect, std::chrono::seconds timeout) {
  constexpr int kWords[] = {16, 128};
  double tokens[2] = {};
  Prompts drawing = Prompts::estimated(0, 1);
  for (int i = 0; i < 2; ++i) {
    const std::string body = dialect.request(drawing.words(kWords[i]), 1);
    KVASIR_ASSIGN_OR_RETURN(const RawReply reply, request(url, timeout, "POST", dialect.route(), body));
    const Result<Completion> completion = read_completion(dialect.api, reply);
    if (!completion.ok()) {
      return error(completion.status().code(), "{}{}: {}", url.text(), dialect.route(),
                   completion.status().message());
    }
    if (!completion->num_prompt_tokens) {
      return error(StatusCode::kUnsupported,
                   "{}: the server does not say how many tokens a prompt has; give its model's folder",
                   url.text());
    }
    tokens[i] = *completion->num_prompt_tokens;
  }
  const double per_word = (tokens[1] - tokens[0]) / (kWords[1] - kWords[0]);
  if (!(per_word > 0)) {
    return error(StatusCode::kCorrupt, "{}: expected more tokens for more words, got {} for {} and {} for {}",
                 url.text(), tokens[0], kWords[0], tokens[1], kWords[1]);
  }
  return Prompts::estimated(tokens[0] - per_word * kWords[0], per_word);
}

}  // namespace kvasir::bench
