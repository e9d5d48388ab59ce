#include "api/conversation.h"

#include <gtest/gtest.h>

namespace kvasir::api {
namespace {

TEST(ReplyMemory, GivesBackWhatTheTextGoesOnWith) {
  ReplyMemory memory(1 << 20);
  memory.remember("", "P", "R", {1, 2}, {3});
  memory.remember("", "P", "RS", {1, 2}, {3, 4});
  memory.remember("", "Q", "X", {9}, {9});
  auto found = memory.find("", "P", "PRSrest");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->ids, (std::vector<TokenId>{1, 2, 3, 4}));
  EXPECT_EQ(found->num_bytes, 3u);
  found = memory.find("", "P", "PRx");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->num_bytes, 2u);
  EXPECT_FALSE(memory.find("", "P", "Px"));
  EXPECT_FALSE(memory.find("", "Z", "ZR"));
}

TEST(ReplyMemory, ASaltSeesItsOwnRepliesAlone) {
  ReplyMemory memory(1 << 20);
  memory.remember("a", "P", "R", {1}, {2});
  EXPECT_TRUE(memory.find("a", "P", "PR"));
  EXPECT_FALSE(memory.find("", "P", "PR"));
  EXPECT_FALSE(memory.find("b", "P", "PR"));
}

TEST(ReplyMemory, ForgetsWhatWasUnusedForLongest) {
  ReplyMemory memory(4096);
  for (int i = 0; i < 1000; ++i) {
    memory.remember("", "P" + std::to_string(i), "R", {i}, {i});
    memory.find("", "P0", "P0R");
    EXPECT_LE(memory.num_bytes(), 4096u);
  }
  EXPECT_TRUE(memory.find("", "P0", "P0R"));
  EXPECT_TRUE(memory.find("", "P999", "P999R"));
  EXPECT_FALSE(memory.find("", "P500", "P500R"));
  memory.remember("", "huge", std::string(10'000, 'x'), {}, {});
  EXPECT_LE(memory.num_bytes(), 4096u);
}

TEST(ReplyMemory, TheNewestTokensOfATextCount) {
  ReplyMemory memory(1 << 20);
  memory.remember("", "P", "R", {1}, {2});
  memory.remember("", "P", "R", {1}, {3, 4});
  EXPECT_EQ(memory.find("", "P", "PR")->ids, (std::vector<TokenId>{1, 3, 4}));
}

}  // namespace
}  // namespace kvasir::api
