#include "model/weight_image.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/check.h"

namespace kvasir::model {
namespace {

constexpr char kMagic[8] = {'K', 'V', 'A', 'S', 'I', 'R', 'W', '\n'};
// Of the file, of the panels' layout, and of how weights are rounded.
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kChunkBytes = 16 << 20;  // hashed and written in one go
constexpr std::size_t kFingerprintBytes = 64;

struct Header {
  char magic[8];
  std::uint32_t version;
  char fingerprint[kFingerprintBytes];
  std::uint64_t num_bytes;
  std::uint64_t checksum;         // of the chunks' hashes
  std::uint64_t header_checksum;  // of what is before it
};
// Closes a descriptor.
class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

std::uint64_t checksum_of(std::span<const std::byte> bytes, ThreadPool& pool) {
  std::vector<std::uint64_t> hashes((bytes.size() + kChunkBytes - 1) / kChunkBytes);
  pool.parallel_for(static_cast<int>(hashes.size()), 1, [&](int begin, int end, int) {
    for (std::size_t i = begin; i < static_cast<std::size_t>(end); ++i) {
      const auto chunk =
          bytes.subspan(i * kChunkBytes, std::min(kChunkBytes, bytes.size() - i * kChunkBytes));
      hashes[i] = XXH3_64bits(chunk.data(), chunk.size());
    }
  });
  return XXH3_64bits(hashes.data(), hashes.size() * sizeof(std::uint64_t));
}

Header make_header(const std::string& fingerprint, std::size_t num_bytes, std::uint64_t checksum) {
  KVASIR_CHECK(fingerprint.size() <= kFingerprintBytes);
  Header header;
  std::memset(&header, 0, sizeof header);
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  std::memcpy(header.fingerprint, fingerprint.data(), fingerprint.size());
  header.num_bytes = num_bytes;
  header.checksum = checksum;
  header.header_checksum = XXH3_64bits(&header, offsetof(Header, header_checksum));
  return header;
}

Status write_all(int descriptor, std::span<const std::byte> bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), std::min(bytes.size(), kChunkBytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return error(StatusCode::kIo, "{}: cannot be written: {}", path, std::strerror(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return Status();
}

}  // namespace

Result<WeightImage> WeightImage::allocate(std::size_t size) {
  if (size == 0) return WeightImage();
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    return error(StatusCode::kResourceExhausted, "weights: {} bytes of memory cannot be had: {}", size,
                 std::strerror(errno));
  }
  ::madvise(memory, size, MADV_HUGEPAGE);  // fewer misses of the TLB; where there is no such thing, none
  return WeightImage(std::span(static_cast<std::byte*>(memory), size));
}

Result<WeightImage> WeightImage::open(const std::string& path, const std::string& fingerprint,
                                      std::size_t size, ThreadPool& pool) {
  KVASIR_ASSIGN_OR_RETURN(format::FileMap file, format::FileMap::open(path));
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() != kHeaderBytes + size) {
    return error(StatusCode::kCorrupt, "{}: expected a file of {} bytes, got {}", path, kHeaderBytes + size,
                 bytes.size());
  }
  Header header;
  static_assert(sizeof header <= kHeaderBytes);
  std::memcpy(&header, bytes.data(), sizeof header);
  const Header expected = make_header(fingerprint, size, header.checksum);
  if (std::memcmp(&header, &expected, sizeof header) != 0) {
    return error(StatusCode::kCorrupt, "{}: is not of this version, model and type of weights", path);
  }
  if (checksum_of(bytes.subspan(kHeaderBytes), pool) != header.checksum) {
    return error(StatusCode::kCorrupt, "{}: its weights have another checksum than it says", path);
  }
  return WeightImage(std::move(file));
}

Status WeightImage::save(const std::string& path, const std::string& fingerprint, ThreadPool& pool) const {
  std::error_code failure;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failure);
  std::string temporary = path + ".XXXXXX";
  const File file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (file.get() < 0) {
    return error(StatusCode::kIo, "{}: cannot be created: {}", temporary, std::strerror(errno));
  }
  const auto write = [&]() -> Status {
    std::byte page[kHeaderBytes] = {};
    const Header header = make_header(fingerprint, bytes().size(), checksum_of(bytes(), pool));
    std::memcpy(page, &header, sizeof header);
    KVASIR_RETURN_IF_ERROR(write_all(file.get(), page, temporary));
    KVASIR_RETURN_IF_ERROR(write_all(file.get(), bytes(), temporary));
    if (::fsync(file.get()) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0) {
      return error(StatusCode::kIo, "{}: cannot be written: {}", path, std::strerror(errno));
    }
    return Status();
  };
  const Status status = write();
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

WeightImage::WeightImage(WeightImage&& other) noexcept
    : file_(std::move(other.file_)), memory_(std::exchange(other.memory_, {})) {}

WeightImage& WeightImage::operator=(WeightImage&& other) noexcept {
  std::swap(file_, other.file_);
  std::swap(memory_, other.memory_);
  return *this;
}

WeightImage::~WeightImage() {
  if (!memory_.empty()) ::munmap(memory_.data(), memory_.size());
}

}  // namespace kvasir::model
