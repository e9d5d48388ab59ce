#pragma once

// Threads for data-parallel loops: the caller is worker 0, the others spin briefly for the next loop and then
// park. An idle pool uses no CPU. It lives inside one forward at a time: one thread calls parallel_for.

#include <memory>

namespace kvasir {

class ThreadPool {
 public:
  // Requires: num_threads >= 1. Starts num_threads - 1 threads.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;

  // Calls task(int begin, int end, int worker) so that the ranges cover [0, count) once, cut at multiples of
  // `grain`, and returns when all are done. worker is in [0, num_threads()); no two calls with one worker run
  // at once. Allocates nothing. Requires: grain >= 1. The task must not throw and must not call parallel_for.
  template <typename Task>
  void parallel_for(int count, int grain, const Task& task) {
    run(count, grain, &call<Task>, &task);
  }

 private:
  using Call = void (*)(const void* task, int begin, int end, int worker);

  template <typename Task>
  static void call(const void* task, int begin, int end, int worker) {
    (*static_cast<const Task*>(task))(begin, end, worker);
  }
  void run(int count, int grain, Call call, const void* task);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Physical cores that this process may use (affinity and cgroup CPU quota respected), at least 1.
int num_physical_cores();

}  // namespace kvasir
