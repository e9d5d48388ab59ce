#pragma once

// Why a prompt, or the rest of it, was not in the prefix cache.

namespace kvasir::kv {

enum class MissReason {
  kNone,      // the whole prompt came from the cache, or all but the token that has to be computed
  kCold,      // nothing of the prompt is in the cache
  kDiverged,  // it matched up to a token; there the cached text ends or goes on differently
  kExpired,   // what would have matched (or matched on) was too old
  kEvicted,   // what would have matched on had to make room for other text
  kTooShort,  // the prompt, or what of it was found, is shorter than min_tokens
  kDisabled,  // the request does not use the prefix cache
  kSalt,      // nothing was cached under the request's salt yet
};

}  // namespace kvasir::kv
