#pragma once

// What a reply's tokens may be, as a state machine over tokens: the seam between the engine and grammars. The
// engine knows no grammar; whoever compiles one implements this.

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/ids.h"

namespace kvasir::engine {

// The state of one reply. Called by one thread at a time, but not always the same one. Must not throw.
class TokenConstraint {
 public:
  virtual ~TokenConstraint() = default;

  // A constraint in the same state that goes on by itself.
  virtual std::unique_ptr<TokenConstraint> clone() const = 0;

  // Says which tokens may come next: bit i % 32 of bits[i / 32] for token i, (vocab_size + 31) / 32 words.
  // Sets every word; bits beyond the vocabulary are not read. Stop tokens are tokens like others: their bits
  // say whether the reply may end here. It is called once for each token, while the model computes.
  virtual void fill_mask(std::span<std::uint32_t> bits) = 0;

  // `token` was chosen and is not a stop token. Requires: its bit was set.
  virtual void accept(TokenId token) = 0;

  // Nothing more may come: the reply ends with FinishReason::kStop, without a stop token.
  virtual bool is_finished() const = 0;
};

// Owns a constraint, or none. A copy is a clone, so that requests are values.
class ConstraintPtr {
 public:
  ConstraintPtr() = default;
  ConstraintPtr(std::unique_ptr<TokenConstraint> constraint)  // NOLINT: implicit by intent
      : constraint_(std::move(constraint)) {}
  template <typename T>
  ConstraintPtr(std::unique_ptr<T> constraint)  // NOLINT: implicit by intent
      : constraint_(std::move(constraint)) {}
  ConstraintPtr(const ConstraintPtr& other)
      : constraint_(other.constraint_ == nullptr ? nullptr : other.constraint_->clone()) {}
  ConstraintPtr(ConstraintPtr&&) noexcept = default;
  ConstraintPtr& operator=(ConstraintPtr other) noexcept {
    constraint_ = std::move(other.constraint_);
    return *this;
  }

  explicit operator bool() const { return constraint_ != nullptr; }
  TokenConstraint* operator->() const { return constraint_.get(); }
  TokenConstraint& operator*() const { return *constraint_; }

 private:
  std::unique_ptr<TokenConstraint> constraint_;
};

}  // namespace kvasir::engine
