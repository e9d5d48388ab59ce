#include "base/memory.h"

#include <gtest/gtest.h>

namespace kvasir {
namespace {

TEST(MemorySize, ReadsWhatPeopleWrite) {
  EXPECT_EQ(*parse_memory_size("4096"), 4096u);
  EXPECT_EQ(*parse_memory_size("4096B"), 4096u);
  EXPECT_EQ(*parse_memory_size("512MiB"), 512u << 20);
  EXPECT_EQ(*parse_memory_size("2GiB"), 2ull << 30);
  EXPECT_EQ(*parse_memory_size("2gb"), 2ull << 30);
  EXPECT_EQ(*parse_memory_size("1.5G"), 3ull << 29);
  for (const char* wrong : {"", "GiB", "-1", "2 GiB", "2GiBs", "2iB", "1e30", "nan", "99999999T"}) {
    EXPECT_FALSE(parse_memory_size(wrong).ok()) << wrong;
  }
}

TEST(UsableMemory, IsSomeAndNotMoreThanAMachineHas) {
  EXPECT_GT(usable_memory_bytes(), 16u << 20);
  EXPECT_LT(usable_memory_bytes(), 1ull << 50);
}

}  // namespace
}  // namespace kvasir
