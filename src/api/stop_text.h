#pragma once

// Ends a text at the first of its stop strings, while it comes in pieces. A piece's end that may be the
// beginning of a stop string is held back until it is clear.

#include <string>
#include <vector>

namespace kvasir::api {

class StopText {
 public:
  // Requires: no empty string.
  explicit StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // Takes a piece; returns what can be shown now. Nothing more comes once stopped().
  std::string push(std::string_view piece);
  // The end of the text: what was held back.
  std::string finish();
  bool stopped() const { return !matched_.empty(); }
  // The stop string that ended it; empty while none has.
  const std::string& matched() const { return matched_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  std::string matched_;
};

}  // namespace kvasir::api
