#include "hub/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "hub/hub_cache.h"
#include "hub/wait.h"

namespace kvasir::hub {
namespace {

// A lock on a file that another process has removed meanwhile keeps nobody out.
bool is_still_at(int descriptor, const std::filesystem::path& path) {
  struct stat opened {
  }, named{};
  return ::fstat(descriptor, &opened) == 0 && ::stat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

}  // namespace

Result<FileLock> FileLock::acquire(const std::filesystem::path& path, const std::function<void()>& on_wait,
                                   const std::stop_token& stop) {
  // flock() itself cannot be stopped by a stop token.
  constexpr auto kPollInterval = std::chrono::milliseconds(50);
  KVASIR_RETURN_IF_ERROR(make_parent_folders(path));
  bool has_waited = false;
  for (;;) {
    // Others of the group may take it too, where the umask allows that.
    FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0664));
    if (file.number() < 0) {
      return error(StatusCode::kIo, "{}: cannot be opened: {}", path.string(), std::strerror(errno));
    }
    if (::flock(file.number(), LOCK_EX | LOCK_NB) == 0) {
      if (is_still_at(file.number(), path)) return FileLock(std::move(file));
      continue;
    }
    if (errno != EWOULDBLOCK && errno != EACCES && errno != EINTR) {
      return error(StatusCode::kIo, "{}: cannot be locked: {}", path.string(), std::strerror(errno));
    }
    if (!has_waited && on_wait) on_wait();
    has_waited = true;
    if (!wait_for(kPollInterval, stop)) return Status(StatusCode::kCancelled, "stopped");
  }
}

}  // namespace kvasir::hub
