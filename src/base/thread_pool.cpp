#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/cgroup.h"
#include "base/check.h"

namespace kvasir {
namespace {

// Long enough to bridge the serial code between two loops of a forward, short enough to cost nothing.
constexpr int kSpins = 4000;
// A thread takes this part of its share of what is left: long ranges first, for memory likes to be read in
// one go, and short ones at the end, so that all threads end together.
constexpr int kPartOfShare = 2;

// ThreadPool::Impl::next of a loop that is not, or not yet, open.
constexpr std::uint32_t kClosed = UINT32_MAX;

std::uint64_t pack(std::uint32_t loop_number, std::uint32_t position) {
  return std::uint64_t{loop_number} << 32 | position;
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Returns the first value of `word` that differs from `old`.
std::uint32_t wait_for_change(const std::atomic<std::uint32_t>& word, std::uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (std::uint32_t now = word.load(std::memory_order_acquire); now != old) return now;
    relax();
  }
  word.wait(old, std::memory_order_acquire);
  return word.load(std::memory_order_acquire);
}

// CPUs worth of run time that this process's cgroups grant; infinity when none has a limit.
double process_cpu_quota() {
  double quota = INFINITY;
  for (const std::string& folder : cgroup_folders()) {
    std::string max;
    double micros = 0, period = 0;
    if (std::ifstream v2(folder + "/cpu.max"); v2 >> max >> period && max != "max" && period > 0) {
      quota = std::min(quota, std::strtod(max.c_str(), nullptr) / period);
    }
    std::ifstream v1_quota(folder + "/cpu.cfs_quota_us");
    std::ifstream v1_period(folder + "/cpu.cfs_period_us");
    if (v1_quota >> micros && v1_period >> period && micros > 0 && period > 0) {
      quota = std::min(quota, micros / period);
    }
  }
  return quota;
}

}  // namespace

struct ThreadPool::Impl {
  explicit Impl(int num_threads) : num_threads(num_threads) {}

  // Takes and runs ranges of the current loop, whichever that is, until none is left.
  void work(int worker) {
    for (;;) {
      // What is read here belongs to one loop if the exchange below succeeds: the caller closes `next` before
      // it changes anything, and no value of `next` comes twice.
      std::uint64_t taken = next.load(std::memory_order_acquire);
      const Call loop_call = call.load(std::memory_order_acquire);
      const void* const loop_task = task.load(std::memory_order_acquire);
      const std::int64_t loop_count = count.load(std::memory_order_acquire);
      const std::int64_t loop_grain = grain.load(std::memory_order_acquire);

      const std::int64_t begin = static_cast<std::uint32_t>(taken);
      if (begin >= loop_count) return;
      const std::int64_t grains_left = (loop_count - begin - 1) / loop_grain + 1;
      const std::int64_t num_grains = std::max<std::int64_t>(1, grains_left / (num_threads * kPartOfShare));
      const std::int64_t size = std::min(loop_count - begin, num_grains * loop_grain);
      if (!next.compare_exchange_weak(taken, taken + static_cast<std::uint64_t>(size),
                                      std::memory_order_acq_rel, std::memory_order_relaxed)) {
        continue;
      }
      loop_call(loop_task, static_cast<int>(begin), static_cast<int>(begin + size), worker);
      const auto done = static_cast<std::uint32_t>(size);
      if (num_done.fetch_add(done, std::memory_order_acq_rel) + done == loop_count) num_done.notify_one();
    }
  }

  void worker_main(int worker) {
    std::uint32_t seen = 0;
    for (;;) {
      seen = wait_for_change(loop_number, seen);
      if (stopping.load(std::memory_order_relaxed)) return;
      work(worker);
    }
  }

  const int num_threads;
  std::vector<std::thread> threads;

  // The current loop.
  std::atomic<Call> call{nullptr};
  std::atomic<const void*> task{nullptr};
  std::atomic<int> count{0};
  std::atomic<int> grain{1};

  alignas(64) std::atomic<std::uint32_t> loop_number{0};  // workers sleep on it
  std::atomic<bool> stopping{false};
  alignas(64) std::atomic<std::uint64_t> next{
      kClosed};                                        // loop number, and the first index that none has taken
  alignas(64) std::atomic<std::uint32_t> num_done{0};  // indices of the loop whose call has returned
};

ThreadPool::ThreadPool(int num_threads) : impl_(std::make_unique<Impl>(num_threads)) {
  KVASIR_CHECK(num_threads >= 1);
  impl_->threads.reserve(static_cast<std::size_t>(num_threads - 1));
  for (int worker = 1; worker < num_threads; ++worker) {
    impl_->threads.emplace_back([impl = impl_.get(), worker] { impl->worker_main(worker); });
  }
}

ThreadPool::~ThreadPool() {
  impl_->stopping.store(true, std::memory_order_relaxed);
  impl_->loop_number.fetch_add(1, std::memory_order_release);
  impl_->loop_number.notify_all();
  for (std::thread& thread : impl_->threads) thread.join();
}

int ThreadPool::num_threads() const {
  return impl_->num_threads;
}

void ThreadPool::run(int count, int grain, Call call, const void* task) {
  KVASIR_CHECK(grain >= 1);
  if (count <= 0) return;
  if (impl_->num_threads == 1 || count <= grain) return call(task, 0, count, 0);

  const std::uint32_t loop_number = impl_->loop_number.load(std::memory_order_relaxed) + 1;
  impl_->next.store(pack(loop_number, kClosed), std::memory_order_relaxed);
  impl_->call.store(call, std::memory_order_release);
  impl_->task.store(task, std::memory_order_release);
  impl_->count.store(count, std::memory_order_release);
  impl_->grain.store(grain, std::memory_order_release);
  impl_->num_done.store(0, std::memory_order_relaxed);
  impl_->next.store(pack(loop_number, 0), std::memory_order_release);
  impl_->loop_number.store(loop_number, std::memory_order_release);
  impl_->loop_number.notify_all();

  // Only ranges are waited for, never threads: one that has no core right now takes none.
  impl_->work(0);
  std::uint32_t done = impl_->num_done.load(std::memory_order_acquire);
  while (done != static_cast<std::uint32_t>(count)) done = wait_for_change(impl_->num_done, done);
}

int num_physical_cores() {
  // Larger than any machine that a static cpu_set_t (1024 CPUs) would miss.
  std::vector<cpu_set_t> allowed(16);
  const std::size_t bytes = allowed.size() * sizeof(cpu_set_t);
  std::set<std::pair<std::string, std::string>> cores;  // (package, core): threads of one core count once
  if (sched_getaffinity(0, bytes, allowed.data()) == 0) {
    for (std::size_t cpu = 0; cpu < bytes * 8; ++cpu) {
      if (!CPU_ISSET_S(cpu, bytes, allowed.data())) continue;
      const std::string topology = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
      std::string package, core;
      std::ifstream(topology + "physical_package_id") >> package;
      if (!(std::ifstream(topology + "core_id") >> core)) core = "cpu" + std::to_string(cpu);
      cores.emplace(package, core);
    }
  }
  const int num_cores = cores.empty() ? static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))
                                      : static_cast<int>(cores.size());
  const double quota = process_cpu_quota();
  return quota < num_cores ? std::max(1, static_cast<int>(quota)) : num_cores;
}

}  // namespace kvasir
