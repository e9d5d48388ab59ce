#pragma once

// The tokens of replies that were given, for when they come back as text in the next turn of a conversation.
// Text can be encoded in more than one way: encoded anew, a reply may get other tokens than those that made
// it, and the cache would not know them. Any thread.
//
//   prompt text P ──reply──> text R          remembered: (salt, hash of P) -> R, ids of P and R
//   next turn's text: P R ...                its tokens: ids of P and R, then the rest encoded
//
// A salt's replies are seen under that salt alone. Bounded: those unused for longest go.

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"

namespace kvasir::api {

class ReplyMemory {
 public:
  explicit ReplyMemory(std::size_t max_bytes) : max_bytes_(max_bytes) {}

  void remember(std::string_view salt, std::string_view prompt, std::string_view reply,
                const std::vector<TokenId>& prompt_ids, const std::vector<TokenId>& reply_ids);

  struct Found {
    std::vector<TokenId> ids;  // of prompt and reply
    std::size_t num_bytes;     // of the text that they stand for
  };
  // The longest reply to `prompt` that `text` goes on with. Requires: `text` begins with `prompt`.
  std::optional<Found> find(std::string_view salt, std::string_view prompt, std::string_view text);

  std::size_t num_bytes() const;

 private:
  struct Key {
    std::uint64_t low, high;
    bool operator==(const Key&) const = default;
  };
  struct HashOfKey {
    std::size_t operator()(const Key& key) const { return key.low; }
  };
  struct Reply {
    Key key;
    std::string text;
    std::vector<TokenId> ids;
    std::size_t num_bytes() const { return sizeof(Reply) + text.size() + ids.size() * sizeof(TokenId); }
  };
  static Key key_of(std::string_view salt, std::string_view prompt);
  void forget_oldest();

  const std::size_t max_bytes_;
  mutable std::mutex mutex_;
  // Guarded by mutex_.
  std::list<Reply> replies_;  // used last ... unused for longest
  std::unordered_multimap<Key, std::list<Reply>::iterator, HashOfKey> by_key_;
  std::size_t num_bytes_ = 0;
};

}  // namespace kvasir::api
