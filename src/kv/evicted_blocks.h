#pragma once

// Which blocks had to make room, as far as it remembers: so that a miss can be told from text that was never
// there. It keeps hashes only, of all tokens from the salt to a block's end, and a newer one may take an
// older one's place: what it says is information for people, never a reason to reuse anything. Engine thread
// only.
//
//   slots_   [ h7 | - | h3 | - ]          a hash lies at its own lowest bits, or has been replaced

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace kvasir::kv {

class EvictedBlocks {
 public:
  // With a seed that clients cannot know, nobody can prepare a prompt with the hash of another salt's block.
  EvictedBlocks(int num_blocks, std::uint64_t seed)
      : seed_(seed), slots_(std::bit_ceil(static_cast<std::size_t>(num_blocks)), kFree) {}

  // Up to two slots for each.
  static constexpr std::size_t bytes_per_block() { return 2 * sizeof(std::uint64_t); }

  // The hash of no tokens under a salt, and of one more token. Salts have nothing in common.
  std::uint64_t hash_salt(std::string_view salt) const {
    std::uint64_t hash = seed_;
    for (const char c : salt) hash = extend(hash, static_cast<unsigned char>(c));
    return extend(hash, -1);
  }
  static std::uint64_t extend(std::uint64_t hash, TokenId token) {
    hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 32);
  }
  static std::uint64_t extend(std::uint64_t hash, std::span<const TokenId> tokens) {
    for (const TokenId token : tokens) hash = extend(hash, token);
    return hash;
  }

  void add(std::uint64_t hash) { slot(hash) = hash; }
  void remove(std::uint64_t hash) {
    if (contains(hash)) slot(hash) = kFree;
  }
  void clear() { slots_.assign(slots_.size(), kFree); }
  bool contains(std::uint64_t hash) const {
    return hash != kFree && slots_[hash & (slots_.size() - 1)] == hash;
  }

 private:
  static constexpr std::uint64_t kFree = 0;
  std::uint64_t& slot(std::uint64_t hash) { return slots_[hash & (slots_.size() - 1)]; }

  const std::uint64_t seed_;
  std::vector<std::uint64_t> slots_;
};

}  // namespace kvasir::kv
