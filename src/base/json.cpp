#include "base/json.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

namespace kvasir {
namespace {

constexpr std::size_t kMaxComparisons = 50'000'000;  // of keys: some tenths of a second

// Stops a parser at what would take too long or too deep a stack.
class ParseLimits {
 public:
  ParseLimits(std::size_t max_depth, std::size_t max_comparisons)
      : max_depth_(max_depth), max_comparisons_(max_comparisons) {}

  template <typename Event>
  bool allow(int depth, Event event) {
    if (event == Event::object_start || event == Event::array_start) {
      if (static_cast<std::size_t>(depth) >= max_depth_) refusal_ = Refusal::kDepth;
      if (num_keys_.size() <= static_cast<std::size_t>(depth)) num_keys_.resize(depth + 1);
      num_keys_[depth] = 0;
    } else if (event == Event::key) {
      // An ordered object looks through its keys for each new one.
      num_comparisons_ += num_keys_[depth - 1]++;
      if (num_comparisons_ > max_comparisons_) refusal_ = Refusal::kKeys;
    }
    return refusal_ == Refusal::kNone;
  }

  Status status(std::string_view name) const {
    if (refusal_ == Refusal::kDepth) {
      return error(StatusCode::kInvalidArgument, "{}: JSON is nested deeper than {} levels", name,
                   max_depth_);
    }
    if (refusal_ == Refusal::kKeys) {
      return error(StatusCode::kInvalidArgument, "{}: too many keys in one JSON object", name);
    }
    return Status();
  }

 private:
  enum class Refusal { kNone, kDepth, kKeys };

  const std::size_t max_depth_, max_comparisons_;
  std::vector<std::size_t> num_keys_;  // of the open objects, by depth
  std::size_t num_comparisons_ = 0;
  Refusal refusal_ = Refusal::kNone;
};

template <typename Json>
Result<Json> parse(std::string_view name, std::string_view text, ParseLimits limits) {
  const auto callback = [&](int depth, typename Json::parse_event_t event, Json&) {
    return limits.allow(depth, event);
  };
  try {
    Json value = Json::parse(text.begin(), text.end(), callback);
    KVASIR_RETURN_IF_ERROR(limits.status(name));
    return value;
  } catch (const nlohmann::json::exception& e) {
    std::string_view what = e.what();
    if (const auto end_of_id = what.find("] "); end_of_id != what.npos) what.remove_prefix(end_of_id + 2);
    std::string line(what.substr(0, 200));
    for (char& c : line) {
      if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    }
    return error(StatusCode::kInvalidArgument, "{}: not valid JSON: {}", name, line);
  }
}

}  // namespace

Result<nlohmann::json> parse_json(std::string_view name, std::string_view text, std::size_t max_depth) {
  return parse<nlohmann::json>(name, text, {max_depth, std::numeric_limits<std::size_t>::max()});
}

Result<nlohmann::ordered_json> parse_ordered_json(std::string_view name, std::string_view text,
                                                  std::size_t max_depth) {
  return parse<nlohmann::ordered_json>(name, text, {max_depth, kMaxComparisons});
}

}  // namespace kvasir
