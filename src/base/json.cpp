#include "base/json.h"

#include <nlohmann/json.hpp>

namespace kvasir {

Result<nlohmann::json> parse_json(std::string_view name, std::string_view text, std::size_t max_depth) {
  bool too_deep = false;
  const auto limit_depth = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json&) {
    const bool opens = event == nlohmann::json::parse_event_t::object_start ||
                       event == nlohmann::json::parse_event_t::array_start;
    if (opens && static_cast<std::size_t>(depth) >= max_depth) {
      too_deep = true;
      return false;
    }
    return true;
  };
  try {
    nlohmann::json value = nlohmann::json::parse(text.begin(), text.end(), limit_depth);
    if (too_deep) {
      return error(StatusCode::kInvalidArgument, "{}: JSON is nested deeper than {} levels", name, max_depth);
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

}  // namespace kvasir
