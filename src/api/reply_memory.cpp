#include "api/reply_memory.h"

#include <xxhash.h>

namespace kvasir::api {

ReplyMemory::Key ReplyMemory::key_of(std::string_view salt, std::string_view prompt) {
  const XXH128_hash_t hash =
      XXH3_128bits_withSeed(prompt.data(), prompt.size(), XXH3_64bits(salt.data(), salt.size()));
  return {hash.low64, hash.high64};
}

void ReplyMemory::remember(std::string_view salt, std::string_view prompt, std::string_view reply,
                           const std::vector<TokenId>& prompt_ids, const std::vector<TokenId>& reply_ids) {
  if (reply.empty()) return;
  Reply made = {key_of(salt, prompt), std::string(reply), prompt_ids};
  made.ids.insert(made.ids.end(), reply_ids.begin(), reply_ids.end());
  if (made.num_bytes() > max_bytes_) return;
  const std::lock_guard lock(mutex_);
  const auto [first, last] = by_key_.equal_range(made.key);
  for (auto each = first; each != last; ++each) {
    if (each->second->text != made.text) continue;
    // Its tokens are those of the newest one, which the cache has for certain.
    num_bytes_ += made.num_bytes() - each->second->num_bytes();
    *each->second = std::move(made);
    replies_.splice(replies_.begin(), replies_, each->second);
    while (num_bytes_ > max_bytes_) forget_oldest();
    return;
  }
  num_bytes_ += made.num_bytes();
  replies_.push_front(std::move(made));
  by_key_.emplace(replies_.front().key, replies_.begin());
  while (num_bytes_ > max_bytes_) forget_oldest();
}

void ReplyMemory::forget_oldest() {
  const auto oldest = std::prev(replies_.end());
  const auto [first, last] = by_key_.equal_range(oldest->key);
  for (auto each = first; each != last; ++each) {
    if (each->second != oldest) continue;
    by_key_.erase(each);
    break;
  }
  num_bytes_ -= oldest->num_bytes();
  replies_.pop_back();
}

std::optional<ReplyMemory::Found> ReplyMemory::find(std::string_view salt, std::string_view prompt,
                                                    std::string_view text) {
  const std::string_view rest = text.substr(prompt.size());
  const std::lock_guard lock(mutex_);
  auto best = replies_.end();
  const auto [first, last] = by_key_.equal_range(key_of(salt, prompt));
  for (auto each = first; each != last; ++each) {
    const Reply& reply = *each->second;
    if (rest.starts_with(reply.text) && (best == replies_.end() || reply.text.size() > best->text.size())) {
      best = each->second;
    }
  }
  if (best == replies_.end()) return std::nullopt;
  replies_.splice(replies_.begin(), replies_, best);
  return Found{best->ids, prompt.size() + best->text.size()};
}

std::size_t ReplyMemory::num_bytes() const {
  const std::lock_guard lock(mutex_);
  return num_bytes_;
}

}  // namespace kvasir::api
