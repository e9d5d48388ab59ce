#include "api/stop_text.h"

#include <gtest/gtest.h>

namespace kvasir::api {
namespace {

TEST(StopText, HoldsBackWhatMayBeAStop) {
  StopText text({"END", "\n\n"});
  EXPECT_EQ(text.push("abcE"), "abc");
  EXPECT_EQ(text.push("x"), "Ex");
  EXPECT_EQ(text.push("E"), "");
  EXPECT_EQ(text.push("N"), "");
  EXPECT_EQ(text.push("Q\n"), "ENQ");
  EXPECT_EQ(text.push("yEND and more"), "\ny");
  EXPECT_TRUE(text.stopped());
  EXPECT_EQ(text.matched(), "END");
  EXPECT_EQ(text.push("more"), "");
  EXPECT_EQ(text.finish(), "");
}

TEST(StopText, TheFirstStopWinsAndTheEndIsShown) {
  StopText text({"cd", "bc"});
  EXPECT_EQ(text.push("abcd"), "a");
  EXPECT_TRUE(text.stopped());
  StopText open({"xyz"});
  EXPECT_EQ(open.push("wxy"), "w");
  EXPECT_EQ(open.finish(), "xy");
  StopText none({});
  EXPECT_EQ(none.push("all"), "all");
}

// However a text is cut into pieces, what is shown is the same.
TEST(StopText, PiecesDoNotMatter) {
  const std::string whole = "aabaabaaab";
  for (unsigned cuts = 0; cuts < 1u << (whole.size() - 1); ++cuts) {
    StopText text({"aaab", "baaa"});
    std::string shown, piece;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      piece += whole[i];
      if ((cuts >> i & 1) == 0 && i + 1 < whole.size()) continue;
      shown += text.push(piece);
      piece.clear();
    }
    shown += text.finish();
    EXPECT_EQ(shown, "aabaa");
  }
}

// "abc" begins before "b", but "b" is there before "abc" is.
TEST(StopText, TheStopThatIsCompleteFirstCounts) {
  StopText whole({"abc", "b"});
  EXPECT_EQ(whole.push("abc"), "a");
  StopText pieces({"abc", "b"});
  EXPECT_EQ(pieces.push("a"), "");
  EXPECT_EQ(pieces.push("b"), "a");
  EXPECT_TRUE(pieces.stopped());
}

}  // namespace
}  // namespace kvasir::api
