#include "hub/partial_blob.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "hub/hub_cache.h"

namespace kvasir::hub {
namespace {

// With errno's reason.
Status failed(const std::filesystem::path& path, std::string_view what) {
  return error(StatusCode::kIo, "{}: cannot be {}: {}", path.string(), what, std::strerror(errno));
}

}  // namespace

Result<PartialBlob> PartialBlob::open(const std::filesystem::path& blob, std::uint64_t num_bytes) {
  KVASIR_RETURN_IF_ERROR(make_parent_folders(blob));
  std::filesystem::path path = blob.string() + ".incomplete";
  FileDescriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (file.number() < 0) return failed(path, "opened");
  PartialBlob partial(blob, std::move(path), std::move(file), num_bytes);
  std::vector<char> buffer(1 << 20);
  for (;;) {
    const ssize_t count = ::read(partial.file_.number(), buffer.data(), buffer.size());
    if (count < 0) return failed(partial.path_, "read");
    if (count == 0) return partial;
    partial.checksum_.update({buffer.data(), static_cast<std::size_t>(count)});
    partial.size_ += static_cast<std::uint64_t>(count);
  }
}

Status PartialBlob::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(file_.number(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return failed(path_, "written");
    checksum_.update(bytes.substr(0, static_cast<std::size_t>(count)));
    size_ += static_cast<std::uint64_t>(count);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return Status();
}

Status PartialBlob::restart() {
  if (::ftruncate(file_.number(), 0) != 0 || ::lseek(file_.number(), 0, SEEK_SET) != 0) {
    return failed(path_, "emptied");
  }
  (void)checksum_.finish();
  size_ = 0;
  return Status();
}

Status PartialBlob::check() {
  const std::string sum = checksum_.finish(), expected = blob_.filename().string();
  if (!checksum_.is_known() || sum == expected) return Status();
  return error(StatusCode::kCorrupt, "expected the {} {}, what came has {}", checksum_.algorithm(), expected,
               sum);
}

Status PartialBlob::publish() {
  if (::fsync(file_.number()) != 0) return failed(path_, "written");
  if (::rename(path_.c_str(), blob_.c_str()) != 0) return failed(path_, "renamed");
  return Status();
}

void PartialBlob::discard() {
  ::unlink(path_.c_str());
}

}  // namespace kvasir::hub
