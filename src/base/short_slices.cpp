#include "base/short_slices.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace kvasir {

namespace {

// struct sched_attr of the kernel, in its first version. The C library has it since glibc 2.41 only, and the
// kernel's own header does not go with the library's.
struct SchedulingAttributes {
  std::uint32_t size;
  std::uint32_t policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime;  // of SCHED_OTHER: the slice in nanoseconds
  std::uint64_t deadline;
  std::uint64_t period;
};

}  // namespace

void prefer_short_slices() {
  constexpr int kSliceNs = 100'000;  // the shortest that the kernel grants
  if (sched_getscheduler(0) != SCHED_OTHER) return;
  SchedulingAttributes attributes{};
  attributes.size = sizeof attributes;
  attributes.policy = SCHED_OTHER;
  attributes.nice = getpriority(PRIO_PROCESS, 0);
  attributes.runtime = kSliceNs;
  syscall(SYS_sched_setattr, 0, &attributes, 0);  // a kernel that refuses it goes on as before
}

}  // namespace kvasir
