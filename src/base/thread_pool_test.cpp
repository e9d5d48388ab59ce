#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace kvasir {
namespace {

TEST(ThreadPool, CoversEachIndexOnceCutAtGrains) {
  for (int threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.num_threads(), threads);
    for (int count : {0, 1, 2, 7, 16, 100, 1001}) {
      for (int grain : {1, 3, 16, 2000}) {
        std::vector<std::atomic<int>> seen(static_cast<std::size_t>(count));
        std::atomic<int> misplaced = 0;
        pool.parallel_for(count, grain, [&](int begin, int end, int worker) {
          if (begin >= end || begin % grain != 0 || (end % grain != 0 && end != count)) ++misplaced;
          if (worker < 0 || worker >= threads) ++misplaced;
          for (int i = begin; i < end; ++i) ++seen[static_cast<std::size_t>(i)];
        });
        EXPECT_EQ(misplaced, 0);
        for (const auto& times : seen) ASSERT_EQ(times, 1);
      }
    }
  }
}

TEST(ThreadPool, OneWorkerNeverRunsTwoRangesAtOnce) {
  ThreadPool pool(4);
  std::vector<std::atomic<int>> busy(4);
  std::atomic<int> overlaps = 0;
  for (int round = 0; round < 500; ++round) {
    pool.parallel_for(64, 1, [&](int, int, int worker) {
      if (busy[static_cast<std::size_t>(worker)]++ != 0) ++overlaps;
      --busy[static_cast<std::size_t>(worker)];
    });
  }
  EXPECT_EQ(overlaps, 0);
}

TEST(ThreadPool, ALoopSeesWhatTheLoopBeforeItWrote) {
  ThreadPool pool(3);
  std::vector<int> values(1000, 0);
  for (int round = 0; round < 1000; ++round) {
    pool.parallel_for(1000, 1, [&](int begin, int end, int) {
      // The mirrored element was mostly written by another thread in the round before.
      for (int i = begin; i < end; ++i) {
        if (round % 2 == 0)
          ++values[static_cast<std::size_t>(i)];
        else
          ++values[static_cast<std::size_t>(999 - i)];
      }
    });
  }
  for (int value : values) ASSERT_EQ(value, 1000);
}

TEST(ThreadPool, IdlePoolUsesNoCpu) {
  ThreadPool pool(3);
  std::atomic<int> sum = 0;
  pool.parallel_for(100, 1, [&](int begin, int end, int) { sum += end - begin; });
  EXPECT_EQ(sum, 100);
  const auto cpu_seconds = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // past the spinning
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(cpu_seconds() - before, 0.03);
}

// Two threads on cores that others keep busy: nobody waits for a thread that has no core right now, so they
// take about as long as one thread does.
TEST(ThreadPool, TwoThreadsOnBusyCoresDoNotCollapse) {
  const auto seconds_of = [](int num_threads) {
    ThreadPool pool(num_threads);
    const auto begin = std::chrono::steady_clock::now();
    for (int loop = 0; loop < 300; ++loop) {
      pool.parallel_for(64, 1, [](int from, int to, int) {
        volatile int work = 0;
        for (int i = 0; i < (to - from) * 1000; ++i) work = work + i;
      });
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  std::atomic<bool> is_stopping = false;
  std::vector<std::thread> others;
  for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) {
    others.emplace_back([&] {
      while (!is_stopping.load(std::memory_order_relaxed)) {
      }
    });
  }
  const double one = seconds_of(1), two = seconds_of(2);
  is_stopping = true;
  for (std::thread& other : others) other.join();
  // Measured: 1.3 times; a pool that waits for its threads takes a time slice per loop, some 20 times.
  EXPECT_LT(two, 6 * one);
}

TEST(NumPhysicalCores, IsAtLeastOneAndAtMostTheLogicalOnes) {
  EXPECT_GE(num_physical_cores(), 1);
  EXPECT_LE(num_physical_cores(), static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace
}  // namespace kvasir
