#include "grammar/equal_states.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <unordered_map>
#include <utility>

namespace kvasir::grammar {
namespace {

// Words of signatures in all rounds together.
constexpr std::size_t kMaxWords = 30'000'000;

using Signature = std::span<const std::uint32_t>;

struct SignatureHash {
  std::size_t operator()(Signature signature) const {
    std::uint64_t hash = signature.size();
    for (const std::uint32_t word : signature) hash = (hash ^ word) * 0x9e3779b97f4a7c15 + (hash >> 29);
    return static_cast<std::size_t>(hash);
  }
};
struct SignatureEqual {
  bool operator()(Signature a, Signature b) const {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }
};

// Moore's refinement of partitions (1956): after n rounds, states of one class agree on texts of up to n
// bytes. A class is named by its first state.
class Refinement {
 public:
  explicit Refinement(const Grammar& grammar) : grammar_(grammar), classes_(grammar.states().size()) {
    StateId first[2] = {kNoState, kNoState};
    for (StateId state = 0; state < classes_.size(); ++state) {
      const Grammar::State& each = grammar.states()[state];
      const bool is_alone = !each.calls.empty() || !each.epsilons.empty();
      StateId& name = first[each.accepts ? 1 : 0];
      if (!is_alone && name == kNoState) name = state;
      classes_[state] = is_alone ? state : name;
    }
  }

  // False when nothing changed: no further round will change anything.
  bool refine() {
    words_.clear();
    std::vector<std::size_t> begins = {0};
    for (StateId state = 0; state < classes_.size(); ++state) {
      add_signature(state);
      begins.push_back(words_.size());
    }
    constexpr std::size_t kWordsPerState = 16;  // what the look-up of a signature costs
    num_words_ += words_.size() + kWordsPerState * classes_.size();
    // words_ stays where it is from here on.
    std::unordered_map<Signature, StateId, SignatureHash, SignatureEqual> names;
    std::vector<StateId> next(classes_.size());
    for (StateId state = 0; state < classes_.size(); ++state) {
      const Signature signature = Signature(words_).subspan(begins[state], begins[state + 1] - begins[state]);
      next[state] = names.try_emplace(signature, state).first->second;
    }
    std::swap(next, classes_);
    return next != classes_;
  }

  std::size_t num_words() const { return num_words_; }
  const std::vector<StateId>& classes() const { return classes_; }

 private:
  // Its class, and where each byte leads: a class can only be divided.
  void add_signature(StateId state) {
    words_.push_back(classes_[state]);
    for (const Grammar::Edge& edge : grammar_.states()[state].edges) {
      words_.push_back(std::uint32_t{edge.first} << 8 | edge.last);
      words_.push_back(classes_[edge.target]);
    }
  }

  const Grammar& grammar_;
  std::vector<StateId> classes_;  // by state
  std::vector<std::uint32_t> words_;
  std::size_t num_words_ = 0;
};

}  // namespace

std::vector<StateId> find_equal_states(const Grammar& grammar, int num_bytes) {
  Refinement refinement(grammar);
  for (int round = 0; round < num_bytes && refinement.refine(); ++round) {
    if (refinement.num_words() <= kMaxWords) continue;
    std::vector<StateId> own(grammar.states().size());
    std::iota(own.begin(), own.end(), StateId{0});
    return own;
  }
  return refinement.classes();
}

}  // namespace kvasir::grammar
