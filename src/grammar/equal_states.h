#pragma once

// States that cannot be told apart by a token: long counts have many of them, since the end is far from most.
// They share one mask.

#include <vector>

#include "grammar/grammar.h"

namespace kvasir::grammar {

// For each state, the first one that reads the same texts of up to `num_bytes` bytes, and ends its rule
// behind the same ones; itself where finding out takes too long. States that call rules are equal to none but
// themselves. O(num_bytes * edges), at most about 100 ms; much less where the longest count is short.
std::vector<StateId> find_equal_states(const Grammar& grammar, int num_bytes);

}  // namespace kvasir::grammar
