#pragma once

// What a blob's name says of its content: of files in LFS it is the SHA-256, of others git's name of the
// content, which is the SHA-1 of "blob SIZE\0" and the bytes. Other names, of mirrors, say nothing.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace kvasir::hub {

class BlobChecksum {
 public:
  // Of a blob of that name and size.
  BlobChecksum(std::string_view name, std::uint64_t num_bytes);

  // Whether there is something to compare.
  bool is_known() const { return context_ != nullptr; }

  // "SHA-256"; empty when it is not known.
  std::string_view algorithm() const;

  void update(std::string_view bytes);

  // The hexadecimal digits of all bytes since the beginning or the last finish(); empty when it is not known.
  std::string finish();

 private:
  void begin();

  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;  // null: the name is of no known form
  bool is_git_ = false;
  std::uint64_t num_bytes_ = 0;
};

}  // namespace kvasir::hub
