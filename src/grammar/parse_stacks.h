#pragma once

// The stacks of all ways to read a text, as one graph (a graph-structured stack, Tomita 1986; Scott and
// Johnstone 2010): ways that are in the same rule since the same byte share a node, so an ambiguous grammar
// costs a polynomial and not a power.
//
//   text  [ [ 1      array ::= "[" value ("," value)* "]"      value ::= array | number
//
//   bottom <-(end)-- array@0 <-(in array)-- array@1 <-(in array)-- number@2
//
//   node    a rule @ the byte where it began
//   edge    where to go on when it ends, and the caller's node
//   Config  a state inside of a rule, and the node of that rule
//
// Not thread-safe.

#include <cstdint>
#include <vector>

#include "grammar/grammar.h"

namespace kvasir::grammar {

using NodeId = std::uint32_t;

struct Config {
  StateId state;
  NodeId node;
  friend bool operator==(const Config&, const Config&) = default;
};

// More ways than this at one byte are dropped: the text stays within the grammar, but not all of the grammar
// is offered.
inline constexpr std::size_t kMaxConfigs = 512;

class ParseStacks {
 public:
  static constexpr NodeId kBottom = 0;  // no caller: the root rule

  ParseStacks() : first_edges_(1, kNoEdge) {}

  // Each of these appends to `configs` what is reached without reading a byte, each config once, and returns
  // whether the bottom was left, that is, whether the root rule may end there.
  bool start(const Grammar& grammar, RuleId rule, std::vector<Config>& configs);
  // From configs[begin..end) by one byte.
  bool advance(const Grammar& grammar, std::size_t begin, std::size_t end, std::uint8_t byte,
               std::vector<Config>& configs);
  // The rule of `node` ends.
  bool leave(const Grammar& grammar, NodeId node, std::vector<Config>& configs);

  // Forgets what was added since mark().
  struct Mark {
    std::size_t num_nodes, num_edges;
  };
  Mark mark() const { return {first_edges_.size(), edges_.size()}; }
  void reset(Mark mark) {
    first_edges_.resize(mark.num_nodes);
    edges_.resize(mark.num_edges);
  }

  std::size_t num_nodes() const { return first_edges_.size(); }
  // Keeps only what `configs` reach, and renumbers them.
  void compact(std::vector<Config>& configs);

 private:
  static constexpr std::uint32_t kNoEdge = ~std::uint32_t{0};
  struct Edge {
    StateId return_to;
    NodeId caller;
    std::uint32_t next;  // the node's next edge
  };
  struct Opened {
    RuleId rule;
    NodeId node;
  };

  void add(Config config, std::size_t begin, std::vector<Config>& configs);
  // Adds what configs[begin..) reach without a byte. True when the bottom was left.
  bool close(const Grammar& grammar, std::size_t begin, std::vector<Config>& configs);
  void enter(const Grammar& grammar, const Grammar::Call& call, NodeId caller, std::size_t begin,
             std::vector<Config>& configs);

  std::vector<std::uint32_t> first_edges_;  // by node; newest edge first
  std::vector<Edge> edges_;
  std::vector<Opened> opened_;  // nodes made at the current byte
};

}  // namespace kvasir::grammar
