#include "tokenizer/detokenizer.h"

#include <utility>

namespace kvasir::tokenizer {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
// Tokens without a complete character after which the text is given out as it is: real ones take four at
// most.
constexpr std::size_t kMaxPending = 64;

}  // namespace

std::string IncrementalDetokenizer::push(TokenId id) {
  ids_.push_back(id);
  std::string text = tokenizer_.decode(ids_, options_);
  const bool is_complete = !text.ends_with(kReplacement) || ids_.size() - num_shown_ids_ > kMaxPending;
  if (text.size() <= shown_.size() || !is_complete) return "";
  std::string added = text.substr(shown_.size());
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<std::ptrdiff_t>(num_shown_ids_));
  num_shown_ids_ = ids_.size();
  shown_ = tokenizer_.decode(ids_, options_);
  return added;
}

std::string IncrementalDetokenizer::finish() {
  const std::string text = tokenizer_.decode(ids_, options_);
  std::string added = text.size() > shown_.size() ? text.substr(shown_.size()) : "";
  ids_.clear();
  shown_.clear();
  num_shown_ids_ = 0;
  return added;
}

}  // namespace kvasir::tokenizer
