#pragma once

// The grammars over one vocabulary that were asked for lately, with their masks: a schema that comes with
// every request costs its masks once. Any thread. Bounded: those unused for longest go, and live on where
// they are in use.

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

#include "grammar/grammar.h"
#include "grammar/token_constraint.h"

namespace kvasir::grammar {

class GrammarCache {
 public:
  explicit GrammarCache(std::shared_ptr<const TokenTable> tokens,
                        std::size_t max_bytes = std::size_t{128} << 20)
      : tokens_(std::move(tokens)), max_bytes_(max_bytes) {}

  // `grammar` over the vocabulary; the kept one when an equal grammar was asked for before.
  std::shared_ptr<const CompiledGrammar> get(std::shared_ptr<const Grammar> grammar);

 private:
  struct Entry {
    std::uint64_t hash;
    std::shared_ptr<const CompiledGrammar> compiled;
    std::size_t grammar_bytes;
  };
  std::shared_ptr<const CompiledGrammar> find(std::uint64_t hash, const Grammar& grammar);
  void drop_oldest();

  const std::shared_ptr<const TokenTable> tokens_;  // shared with the compiled grammars
  const std::size_t max_bytes_;
  std::mutex mutex_;
  std::list<Entry> entries_;  // guarded by mutex_; used last ... unused for longest
};

}  // namespace kvasir::grammar
