#pragma once

// Token by token to text, for streams: never half a UTF-8 character, and the pieces together are the text of
// the whole. One stream, one thread at a time.

#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace kvasir::tokenizer {

class IncrementalDetokenizer {
 public:
  // `tokenizer` must outlive the stream.
  IncrementalDetokenizer(const Tokenizer& tokenizer, const DecodeOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  // The text that `id` adds; empty while a character is incomplete. O(1) amortised.
  std::string push(TokenId id);

  // What is left at the end: an incomplete character as U+FFFD. The stream starts anew.
  std::string finish();

 private:
  const Tokenizer& tokenizer_;
  const DecodeOptions options_;
  // The tokens since a little before the last emitted text, of which `shown_` is the part that has been
  // emitted: a decoder may treat the first token of a text differently, so tokens are never decoded alone.
  std::vector<TokenId> ids_;
  std::string shown_;
  std::size_t num_shown_ids_ = 0;
};

}  // namespace kvasir::tokenizer
