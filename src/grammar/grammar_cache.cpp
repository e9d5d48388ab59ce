#include "grammar/grammar_cache.h"

#include <xxhash.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace kvasir::grammar {
namespace {

// A search through the list looks at so many at most.
constexpr std::size_t kMaxGrammars = 256;

struct Digest {
  std::uint64_t hash;
  std::size_t num_bytes;  // about what the grammar takes
};

// Of what a grammar accepts and how; its rules' names aside.
Digest digest(const Grammar& grammar) {
  std::vector<std::uint32_t> words;
  for (const Grammar::Rule& rule : grammar.rules()) {
    words.insert(words.end(), {rule.start, std::uint32_t{rule.is_nullable}});
  }
  for (const Grammar::State& state : grammar.states()) {
    words.insert(words.end(), {static_cast<std::uint32_t>(state.edges.size()),
                               static_cast<std::uint32_t>(state.calls.size()), std::uint32_t{state.accepts}});
    for (const Grammar::Edge& edge : state.edges) {
      words.insert(words.end(), {edge.target, std::uint32_t{edge.first} << 8 | edge.last});
    }
    for (const Grammar::Call& call : state.calls) words.insert(words.end(), {call.rule, call.return_to});
    words.insert(words.end(), state.epsilons.begin(), state.epsilons.end());
  }
  const std::size_t bytes = words.size() * sizeof words[0];
  return {XXH3_64bits(words.data(), bytes), bytes + grammar.states().size() * sizeof(Grammar::State)};
}

}  // namespace

std::shared_ptr<const CompiledGrammar> GrammarCache::get(std::shared_ptr<const Grammar> grammar) {
  const Digest digest = grammar::digest(*grammar);
  {
    const std::lock_guard lock(mutex_);
    if (auto kept = find(digest.hash, *grammar)) return kept;
  }
  auto compiled = std::make_shared<const CompiledGrammar>(std::move(grammar), tokens_);
  const std::lock_guard lock(mutex_);
  // Another thread may have been faster.
  if (auto kept = find(digest.hash, *compiled->grammar())) return kept;
  entries_.push_front({digest.hash, compiled, digest.num_bytes});
  drop_oldest();
  return compiled;
}

std::shared_ptr<const CompiledGrammar> GrammarCache::find(std::uint64_t hash, const Grammar& grammar) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.hash == hash && *entry.compiled->grammar() == grammar;
  });
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return found->compiled;
}

void GrammarCache::drop_oldest() {
  // Masks are added while a grammar is in use, so what it takes is asked for anew.
  std::size_t num_bytes = 0;
  std::size_t num_kept = 0;
  auto each = entries_.begin();
  for (; each != entries_.end(); ++each, ++num_kept) {
    num_bytes += each->grammar_bytes + each->compiled->mask_bytes();
    if (num_kept > 0 && (num_kept == kMaxGrammars || num_bytes > max_bytes_)) break;
  }
  entries_.erase(each, entries_.end());
}

}  // namespace kvasir::grammar
