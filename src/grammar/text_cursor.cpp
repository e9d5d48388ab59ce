#include "grammar/text_cursor.h"

#include "grammar/grammar_builder.h"

namespace kvasir::grammar {

std::optional<Repetition> take_repetition(TextCursor& cursor, int limit) {
  const auto min = cursor.take_number(limit);
  if (!min) return std::nullopt;
  Repetition repetition{*min, *min};
  if (cursor.take_if(U',')) {
    const auto max = cursor.take_number(limit);
    if (!max && cursor.peek() != U'}') return std::nullopt;
    repetition.max = max.value_or(GrammarBuilder::kUnbounded);
    if (max && *max < *min) return std::nullopt;
  }
  if (!cursor.take_if(U'}')) return std::nullopt;
  return repetition;
}

}  // namespace kvasir::grammar
