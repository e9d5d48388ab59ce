#include "format/new_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace kvasir::format {
namespace {

namespace fs = std::filesystem;

std::string part_of(const std::string& path) {
  return path + ".part";
}

// With errno's reason.
Status failed(const std::string& path, std::string_view what) {
  return error(StatusCode::kIo, "{}: cannot be {}: {}", path, what, std::strerror(errno));
}

// Whether the open file is the one of that name; another process may have renamed it before we had the lock.
bool is_still_at(int descriptor, const std::string& path) {
  struct stat opened {
  }, named{};
  return ::fstat(descriptor, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev;
}

}  // namespace

Status NewFile::check(const std::string& path, bool replaces) {
  std::error_code failure;
  if (!fs::exists(fs::symlink_status(path, failure))) return Status();
  if (fs::exists(path, failure) && !fs::is_regular_file(path, failure)) {
    return error(StatusCode::kInvalidArgument, "{}: expected the name of a file, there is something else",
                 path);
  }
  if (replaces) return Status();
  return error(StatusCode::kInvalidArgument, "{}: exists already; --force replaces it", path);
}

Result<NewFile> NewFile::create(const std::string& path, bool replaces) {
  KVASIR_RETURN_IF_ERROR(check(path, replaces));
  const std::string part = part_of(path);
  for (;;) {
    const int descriptor = ::open(part.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    File file(descriptor < 0 ? nullptr : ::fdopen(descriptor, "wb"), std::fclose);
    if (!file) return failed(part, "created");
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK) return failed(part, "locked");
      return error(StatusCode::kUnavailable, "{}: another process is writing it", path);
    }
    if (!is_still_at(descriptor, part)) continue;
    NewFile result(path, std::move(file));
    // Who had the lock before may have published meanwhile.
    KVASIR_RETURN_IF_ERROR(check(path, replaces));
    if (::ftruncate(descriptor, 0) != 0) return failed(part, "emptied");
    return result;
  }
}

NewFile::~NewFile() {
  if (file_) ::unlink(part_of(path_).c_str());
}

Status NewFile::write(const void* data, std::size_t num_bytes) {
  if (std::fwrite(data, 1, num_bytes, file_.get()) != num_bytes) return failed(path_, "written");
  size_ += num_bytes;
  return Status();
}

Status NewFile::publish() {
  if (std::fflush(file_.get()) != 0 || ::fsync(::fileno(file_.get())) != 0) return failed(path_, "written");
  if (std::rename(part_of(path_).c_str(), path_.c_str()) != 0) return failed(path_, "created");
  file_.reset();
  return Status();
}

}  // namespace kvasir::format
