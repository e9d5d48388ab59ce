#include "bench/completion.h"

#include <algorithm>

#include "base/json.h"

namespace kvasir::bench {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxShownBytes = 300;

struct Event {
  json data;
  TimePoint at;  // when its last byte had come
};

std::string shown(std::string_view text) {
  return json(text.substr(0, kMaxShownBytes)).dump(-1, ' ', false, json::error_handler_t::replace);
}

// The events of a body, but for comments and the [DONE] that ends an OpenAI stream.
Result<std::vector<Event>> read_events(const RawReply& reply) {
  std::vector<Event> events;
  std::size_t arrival = 0;
  for (std::size_t begin = 0; begin < reply.body.size();) {
    const std::size_t end = std::min(reply.body.find('\n', begin), reply.body.size());
    std::string_view line(reply.body.data() + begin, end - begin);
    begin = end + 1;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.starts_with("data:")) continue;
    line.remove_prefix(5);
    if (line.starts_with(' ')) line.remove_prefix(1);
    if (line == "[DONE]") continue;
    while (reply.arrivals[arrival].num_bytes < end) ++arrival;
    Result<json> data = parse_json("event", line);
    if (!data.ok() || !data->is_object()) {
      return error(StatusCode::kCorrupt, "an event is not a JSON object: {}", shown(line));
    }
    events.push_back({std::move(*data), reply.arrivals[arrival].at});
  }
  return events;
}

// The integer at a path of keys, nullopt when there is none.
std::optional<int> find_int(const json& object, std::initializer_list<const char*> path) {
  const json* at = &object;
  for (const char* key : path) {
    const auto found = at->find(key);  // end() of what is no object
    if (found == at->end()) return std::nullopt;
    at = &*found;
  }
  if (!at->is_number_integer()) return std::nullopt;
  return at->get<int>();
}

std::string find_text(const json& object) {
  const auto found = object.find("text");
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

// {"text"} for each token, then the response.
void read_generate(const std::vector<Event>& events, Completion& completion) {
  for (const Event& event : events) {
    if (!event.data.contains("finish_reason")) {
      completion.token_times.push_back(event.at);
      continue;
    }
    completion.text = find_text(event.data);
    completion.num_output_tokens = find_int(event.data, {"generated_tokens"}).value_or(0);
    completion.num_prompt_tokens = find_int(event.data, {"prompt_tokens"});
    completion.num_cached_tokens = find_int(event.data, {"timings", "cached_tokens"});
  }
}

// {"choices": [{"text"}]} for each token, one of them with "usage".
void read_openai(const std::vector<Event>& events, Completion& completion) {
  for (const Event& event : events) {
    const auto choices = event.data.find("choices");
    if (choices != event.data.end() && choices->is_array() && !choices->empty()) {
      const json& choice = choices->front();
      const std::string text = find_text(choice);
      const auto finish = choice.find("finish_reason");
      const bool is_end = finish != choice.end() && !finish->is_null();
      if (!text.empty() || !is_end) completion.token_times.push_back(event.at);
      completion.text += text;
    }
    if (const auto count = find_int(event.data, {"usage", "completion_tokens"})) {
      completion.num_output_tokens = *count;
    }
    if (const auto count = find_int(event.data, {"usage", "prompt_tokens"})) {
      completion.num_prompt_tokens = count;
    }
    if (const auto count = find_int(event.data, {"usage", "prompt_tokens_details", "cached_tokens"})) {
      completion.num_cached_tokens = count;
    }
  }
}

}  // namespace

std::string Dialect::route() const {
  return api == Api::kGenerate ? "/generate" : "/v1/completions";
}

std::string Dialect::request(const std::string& prompt, int num_tokens) const {
  json body = {{"prompt", prompt}, {"stream", true}, {"temperature", 0}, {"ignore_eos", true}};
  if (api == Api::kGenerate) {
    body["max_new_tokens"] = num_tokens;
  } else {
    body["max_tokens"] = num_tokens;
    body["model"] = model;
    body["stream_options"] = {{"include_usage", true}};
  }
  if (request_fields.is_object()) body.merge_patch(request_fields);
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<Completion> read_completion(Api api, const RawReply& reply) {
  if (reply.status != 200) {
    return error(StatusCode::kUnavailable, "status {}: {}", reply.status, shown(reply.body));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::vector<Event> events, read_events(reply));
  Completion completion;
  completion.sent = reply.sent;
  for (const Event& event : events) {
    if (event.data.contains("error")) {
      return error(StatusCode::kUnavailable, "an error in the stream: {}", shown(event.data.dump()));
    }
  }
  if (api == Api::kGenerate) {
    read_generate(events, completion);
  } else {
    read_openai(events, completion);
  }
  if (completion.token_times.empty()) {
    return error(StatusCode::kCorrupt, "expected a stream of events with text, got {}", shown(reply.body));
  }
  const int num_events = static_cast<int>(completion.token_times.size());
  if (completion.num_output_tokens == 0) completion.num_output_tokens = num_events;
  // What a detokenizer had held back comes as an event of its own.
  if (num_events > completion.num_output_tokens) completion.token_times.resize(completion.num_output_tokens);
  completion.ended = reply.arrivals.back().at;
  return completion;
}

}  // namespace kvasir::bench
