#include "api/generate_request.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/json.h"

namespace kvasir::api {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxStops = 16, kMaxStopBytes = 1024, kMaxSaltBytes = 1024;
constexpr int kMaxNewTokens = 1 << 20;

// Reads one field after the other; what is wrong first is kept.
class Reader {
 public:
  explicit Reader(const json& object) : object_(object) {}

  void read(const char* key, std::string& out, std::size_t max_bytes) {
    const json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_string()) return refuse(key, fmt::format("expected a string, got {}", value->type_name()));
    out = value->get<std::string>();
    if (out.size() > max_bytes)
      refuse(key, fmt::format("expected at most {} bytes, got {}", max_bytes, out.size()));
  }

  void read(const char* key, bool& out) {
    const json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_boolean())
      return refuse(key, fmt::format("expected true or false, got {}", value->type_name()));
    out = value->get<bool>();
  }

  template <typename Integer>
  void read(const char* key, Integer& out, Integer least, Integer most) {
    const json* value = find(key);
    if (value == nullptr) return;
    const bool is_integer = value->is_number_integer();
    const bool fits = is_integer && (value->is_number_unsigned()
                                         ? value->get<std::uint64_t>() <= static_cast<std::uint64_t>(most)
                                         : value->get<std::int64_t>() >= 0);
    if (!fits || value->get<std::uint64_t>() < static_cast<std::uint64_t>(least)) {
      return refuse(key, fmt::format("expected an integer from {} to {}, got {}", least, most, show(*value)));
    }
    out = value->get<Integer>();
  }

  void read(const char* key, float& out, double least, double most) {
    const json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_number() || !(value->get<double>() >= least && value->get<double>() <= most)) {
      return refuse(key, fmt::format("expected a number from {} to {}, got {}", least, most, show(*value)));
    }
    out = value->get<float>();
  }

  // A string or a list of them.
  void read_stops(const char* key, std::vector<std::string>& out) {
    const json* value = find(key);
    if (value == nullptr) return;
    const json list = value->is_array() ? *value : json::array({*value});
    if (list.size() > kMaxStops)
      return refuse(key, fmt::format("expected at most {} strings, got {}", kMaxStops, list.size()));
    for (const json& stop : list) {
      if (!stop.is_string() || stop.get_ref<const std::string&>().empty() ||
          stop.get_ref<const std::string&>().size() > kMaxStopBytes) {
        return refuse(key,
                      fmt::format("expected strings of 1 to {} bytes, got {}", kMaxStopBytes, show(stop)));
      }
      out.push_back(stop.get<std::string>());
    }
  }

  bool has(const char* key) const {
    const auto found = object_.find(key);
    return found != object_.end() && !found->is_null();
  }

  void require(const char* key) {
    if (!has(key)) refuse(key, "is required");
  }

  // Requires: every field that may occur has been read.
  void refuse_unknown() {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end()) {
        return refuse(key.substr(0, 100), "there is no such field");
      }
    }
  }

  const std::optional<Refusal>& refusal() const { return refusal_; }

 private:
  const json* find(const char* key) {
    known_.push_back(key);
    return has(key) ? &object_[key] : nullptr;
  }

  void refuse(const std::string& key, const std::string& why) {
    if (!refusal_) refusal_ = Refusal{error(StatusCode::kInvalidArgument, "{}: {}", key, why), key};
  }

  static std::string show(const json& value) {
    return value.dump(-1, ' ', true, json::error_handler_t::replace).substr(0, 80);
  }

  const json& object_;
  std::vector<std::string> known_;
  std::optional<Refusal> refusal_;
};

}  // namespace

std::variant<GenerateRequest, Refusal> parse_generate_request(std::string_view body) {
  const Result<json> value = parse_json("request body", body);
  if (!value.ok()) return Refusal{value.status(), ""};
  if (!value->is_object()) {
    return Refusal{error(StatusCode::kInvalidArgument, "request body: expected a JSON object, got {}",
                         value->type_name()),
                   ""};
  }
  GenerateRequest request;
  Reader reader(*value);
  reader.require("prompt");
  reader.read("prompt", request.prompt, std::numeric_limits<std::size_t>::max());
  reader.read("max_new_tokens", request.max_new_tokens, 1, kMaxNewTokens);
  reader.read("use_cache", request.use_cache);
  reader.read("use_prefix_cache", request.use_prefix_cache);
  reader.read("ignore_eos", request.ignore_eos);
  reader.read("temperature", request.sampling.temperature, 0, 100);
  reader.read("top_p", request.sampling.top_p, 0, 1);
  reader.read("top_k", request.sampling.top_k, 0, std::numeric_limits<int>::max());
  reader.read("min_p", request.sampling.min_p, 0, 1);
  reader.read("repetition_penalty", request.sampling.repetition_penalty, 0.01, 100);
  reader.read("presence_penalty", request.sampling.presence_penalty, -100, 100);
  reader.read("frequency_penalty", request.sampling.frequency_penalty, -100, 100);
  if (reader.has("seed")) request.sampling.seed = 0;
  std::uint64_t seed = 0;
  reader.read("seed", seed, std::uint64_t{0}, std::numeric_limits<std::uint64_t>::max());
  if (request.sampling.seed) request.sampling.seed = seed;
  reader.read_stops("stop", request.stop);
  reader.read("cache_salt", request.cache_salt, kMaxSaltBytes);
  reader.read("stream", request.stream);
  reader.refuse_unknown();
  if (reader.refusal()) return *reader.refusal();
  return request;
}

}  // namespace kvasir::api
