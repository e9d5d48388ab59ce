#include "api/embeddings.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>

#include "api/encode_prompt.h"
#include "api/report.h"

namespace kvasir::api {
namespace {

using nlohmann::ordered_json;

// RFC 4648, section 4.
std::string to_base64(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t group = 0;  // 24 bits
    for (std::size_t j = 0; j < 3; ++j)
      group = group << 8 | (i + j < bytes.size() ? std::to_integer<std::uint32_t>(bytes[i + j]) : 0);
    for (int shift = 18; shift >= 0; shift -= 6) text += kDigits[group >> shift & 63];
  }
  for (std::size_t i = bytes.size() % 3; i != 0 && i < 3; ++i) text[text.size() - (3 - i)] = '=';
  return text;
}

class EmbeddingCall : public Call {
 public:
  EmbeddingCall(const Environment& environment, EmbeddingRequest request)
      : environment_(environment), request_(std::move(request)), results_(request_.inputs.size()) {}

  ~EmbeddingCall() override {
    for (const engine::RequestId id : ids_) environment_.engine.cancel(id);
  }

  std::optional<Refusal> submit(const std::function<void()>& notify) {
    const auto max_inputs = static_cast<std::size_t>(environment_.engine.config().max_queued_requests);
    if (request_.inputs.size() > max_inputs) {
      return Refusal{error(StatusCode::kInvalidArgument, "input: expected at most {} texts, got {}",
                           max_inputs, request_.inputs.size()),
                     "input"};
    }
    std::vector<std::vector<TokenId>> prompts;
    for (const Prompt& input : request_.inputs) {
      auto ids = encode_prompt(environment_.tokenizer, input, request_.add_special_tokens,
                               request_.truncate_prompt_tokens);
      if (!ids.ok()) return Refusal{ids.status(), "input"};
      num_tokens_ += static_cast<int>(ids->size());
      prompts.push_back(std::move(*ids));
    }
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      engine::Request request;
      request.prompt = std::move(prompts[i]);
      request.max_new_tokens = 0;
      request.wants_embedding = true;
      request.use_prefix_cache = false;
      request.priority = request_.priority;
      if (environment_.request_timeout.count() > 0) {
        request.deadline = environment_.clock.now() + environment_.request_timeout;
      }
      auto id = environment_.engine.submit(std::move(request),
                                           [events = events_, notify, i](engine::TokenEvent event) {
                                             Event sent = {i, std::move(event)};
                                             events->try_send(sent);
                                             notify();
                                           });
      if (!id.ok())
        return Refusal{id.status(), id.status().code() == StatusCode::kInvalidArgument ? "input" : ""};
      ids_.push_back(*id);
    }
    return std::nullopt;
  }

  bool streams() const override { return false; }
  int http_status() const override { return status_.ok() ? 200 : api::http_status(status_.code()); }

  bool poll(std::string& out) override {
    while (auto received = events_->try_receive()) {
      engine::TokenEvent& event = received->event;
      if (!event.finish) continue;
      if (event.finish == engine::FinishReason::kError) status_ = event.status;
      if (event.finish == engine::FinishReason::kCancelled)
        status_ = error(StatusCode::kUnavailable, "the server is shutting down");
      results_[received->index] = std::move(event.embedding);
      ++num_done_;
    }
    if (!status_.ok()) {
      out = error_body(ErrorStyle::kOpenAi, {status_, ""});
      return true;
    }
    if (num_done_ < results_.size()) return false;
    out = body();
    return true;
  }

 private:
  struct Event {
    std::size_t index;
    engine::TokenEvent event;
  };

  std::string body() {
    ordered_json json = {
        {"object", "list"}, {"data", ordered_json::array()}, {"model", environment_.model.name}};
    for (std::size_t i = 0; i < results_.size(); ++i) {
      normalize(results_[i]);
      json["data"].push_back({{"object", "embedding"}, {"index", i}, {"embedding", written(results_[i])}});
    }
    json["usage"] = {{"prompt_tokens", num_tokens_}, {"total_tokens", num_tokens_}};
    return dump(json);
  }

  static void normalize(std::vector<float>& values) {
    double sum = 0;
    for (const float value : values) sum += static_cast<double>(value) * value;
    const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
    for (float& value : values) value = static_cast<float>(value * scale);
  }

  ordered_json written(const std::vector<float>& values) const {
    if (!request_.is_base64) return values;
    return to_base64(std::as_bytes(std::span(values)));
  }

  const Environment& environment_;
  const EmbeddingRequest request_;
  // Of each input one event or two: the engine's own limits bound them. Shared with the engine's sinks.
  std::shared_ptr<Channel<Event>> events_ =
      std::make_shared<Channel<Event>>(std::numeric_limits<std::size_t>::max());
  std::vector<engine::RequestId> ids_;
  std::vector<std::vector<float>> results_;
  std::size_t num_done_ = 0;
  int num_tokens_ = 0;
  Status status_;
};

}  // namespace

std::variant<EmbeddingRequest, Refusal> parse_embeddings(const ordered_json& body, const ModelFacts& model) {
  EmbeddingRequest request;
  FieldReader reader(body);
  reader.take("model");
  read_prompts(reader, "input", model, request.inputs);
  std::string format = "float";
  reader.read("encoding_format", format, 20);
  if (format != "float" && format != "base64")
    reader.refuse("encoding_format", "expected 'float' or 'base64'");
  request.is_base64 = format == "base64";
  reader.only("dimensions", nullptr, "embeddings have the model's size");
  reader.read("add_special_tokens", request.add_special_tokens);
  std::optional<int> truncate;
  reader.read("truncate_prompt_tokens", truncate, -1, std::numeric_limits<int>::max());
  if (truncate == 0) reader.refuse("truncate_prompt_tokens", "expected -1 or at least 1, got 0");
  if (truncate) request.truncate_prompt_tokens = *truncate < 0 ? model.context - 1 : *truncate;
  reader.read("priority", request.priority, std::numeric_limits<int>::min(), std::numeric_limits<int>::max());
  reader.accept({"user"});
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();
  return request;
}

std::variant<std::unique_ptr<Call>, Refusal> start_embeddings(const Environment& environment,
                                                              EmbeddingRequest request,
                                                              const std::function<void()>& notify) {
  auto call = std::make_unique<EmbeddingCall>(environment, std::move(request));
  if (auto refusal = call->submit(notify)) return std::move(*refusal);
  return std::unique_ptr<Call>(std::move(call));
}

}  // namespace kvasir::api
