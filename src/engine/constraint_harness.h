#pragma once

// A constraint for tests, with a state that depends on each token.

#include <algorithm>
#include <memory>
#include <span>

#include "base/check.h"
#include "engine/token_constraint.h"

namespace kvasir::engine {

// Each token plus the sum of those before must be divisible by `divisor`; after `length` tokens it is
// finished.
class SumConstraint final : public TokenConstraint {
 public:
  SumConstraint(int divisor, int length) : divisor_(divisor), num_left_(length) {}

  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<SumConstraint>(*this); }

  void fill_mask(std::span<std::uint32_t> bits) override {
    std::fill(bits.begin(), bits.end(), 0);
    const auto num_tokens = static_cast<TokenId>(bits.size() * 32);
    for (TokenId token = 0; token < num_tokens; ++token) {
      if (allows(token)) bits[token / 32] |= std::uint32_t{1} << (token % 32);
    }
  }

  void accept(TokenId token) override {
    KVASIR_CHECK(allows(token) && num_left_ > 0);
    sum_ += token;
    --num_left_;
  }

  bool is_finished() const override { return num_left_ == 0; }

 private:
  bool allows(TokenId token) const { return (sum_ + 1 + token) % divisor_ == 0; }

  const int divisor_;
  int num_left_;
  int sum_ = 0;
};

// Nothing may come.
class DeadEnd final : public TokenConstraint {
 public:
  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<DeadEnd>(); }
  void fill_mask(std::span<std::uint32_t> bits) override { std::fill(bits.begin(), bits.end(), 0); }
  void accept(TokenId) override { KVASIR_CHECK(false); }
  bool is_finished() const override { return false; }
};

}  // namespace kvasir::engine
