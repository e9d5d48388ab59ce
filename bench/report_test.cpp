#include "bench/report.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "bench/chart.h"
#include "bench/machine.h"

namespace kvasir::bench {
namespace {

TEST(Measurement, IsHeldAgainstItsLimitAtTheMedian) {
  const Measurement m = {"x", "tokens/s", {11, 9, 10, 8, 30}, {"GB/s", 40, 2}};
  EXPECT_EQ(m.median(), 10);
  EXPECT_EQ(m.minimum(), 8);
  EXPECT_EQ(m.maximum(), 30);
  EXPECT_DOUBLE_EQ(m.spread(), 2.2);
  EXPECT_DOUBLE_EQ(m.share(), 0.5);
}

TEST(Report, WritesWhatWasMeasured) {
  const std::string path = (std::filesystem::path(::testing::TempDir()) / "kvasir-report.json").string();
  Report report("a machine");
  report.add({"decode", "tokens/s", {10, 12, 14}, {"GB/s", 24, 1}});
  report.add({"step", "us", {3}, {}});
  ASSERT_TRUE(report.write_json(path).ok());
  std::ifstream file(path);
  const nlohmann::json json = nlohmann::json::parse(file);
  EXPECT_EQ(json.at("machine"), "a machine");
  EXPECT_EQ(json.at("measurements").at(0).at("median"), 12);
  EXPECT_EQ(json.at("measurements").at(0).at("limit").at("share"), 0.5);
  EXPECT_FALSE(json.at("measurements").at(1).contains("limit"));
  std::filesystem::remove(path);

  const Status status = report.write_json("/nowhere/report.json");
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_NE(status.message().find("/nowhere/report.json"), std::string::npos);
}

TEST(Chart, PointsLieBetweenTheAxes) {
  const Chart chart = {"a < b", "x", "y", {{"s", {{1, 0}, {4, 50}, {16, 100}}, false}}};
  const std::string svg = to_svg({&chart, 1});
  EXPECT_NE(svg.find("a &lt; b"), std::string::npos);
  // From the left margin to the right one, in equal steps because x is logarithmic; y = 0 on the axis.
  EXPECT_NE(svg.find("points=\"72.0,288.0 304.0,"), std::string::npos) << svg;
  EXPECT_NE(svg.find(" 536.0,"), std::string::npos) << svg;
}

// A rate is the least that the machine can do: while another program has the core, any of them is too low. So
// one measurement in five has to show the order.
TEST(MachineLimits, IntegerInstructionsAreFasterThanFloats) {
  ThreadPool pool(1);
  std::string measured;
  for (int attempt = 0; attempt < 5; ++attempt) {
    const MachineLimits limits(pool);
    EXPECT_GT(limits.fma_gflops(), 0);
    EXPECT_GT(limits.read_gbs(), 0);
    if (limits.int8_gops() == 0) GTEST_SKIP() << "this machine has no 8-bit multiply-add";
    if (limits.int8_gops() > limits.fma_gflops()) return;
    measured += limits.describe() + "\n";
  }
  FAIL() << "in each of five measurements the integers are slower:\n" << measured;
}

}  // namespace
}  // namespace kvasir::bench
