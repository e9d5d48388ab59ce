#include "base/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace kvasir {

namespace {

constexpr std::size_t kUnlimited = static_cast<std::size_t>(-1);

template <typename Json>
Result<Json> parse(std::string_view name, std::string_view text, std::size_t max_depth,
                   std::size_t max_keys) {
  using Event = typename Json::parse_event_t;
  bool too_deep = false, too_wide = false;
  std::vector<std::size_t> num_keys;  // of the objects that are open, by their depth
  const auto limit = [&](int depth, Event event, Json&) {
    const auto level = static_cast<std::size_t>(depth);
    const bool opens = event == Event::object_start || event == Event::array_start;
    if (opens && level >= max_depth) too_deep = true;
    if (event == Event::object_start) {
      num_keys.resize(std::max(num_keys.size(), level + 1));
      num_keys[level] = 0;
    }
    if (event == Event::key) too_wide |= ++num_keys[level - 1] > max_keys;
    return !too_deep && !too_wide;
  };
  try {
    Json value = Json::parse(text.begin(), text.end(), limit);
    if (too_deep) {
      return error(StatusCode::kInvalidArgument, "{}: JSON is nested deeper than {} levels", name, max_depth);
    }
    if (too_wide) {
      return error(StatusCode::kInvalidArgument, "{}: JSON has an object with more than {} keys", name,
                   max_keys);
    }
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
  return parse<nlohmann::json>(name, text, max_depth, kUnlimited);
}

Result<nlohmann::ordered_json> parse_ordered_json(std::string_view name, std::string_view text,
                                                  std::size_t max_depth) {
  constexpr std::size_t kMaxKeys = 1024;
  return parse<nlohmann::ordered_json>(name, text, max_depth, kMaxKeys);
}

}  // namespace kvasir
