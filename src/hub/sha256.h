#pragma once

// SHA-256 of bytes as they come, by OpenSSL. One thread.

#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace kvasir::hub {

class Sha256 {
 public:
  Sha256();

  void update(std::string_view bytes);

  // The 64 hexadecimal digits of all bytes since the beginning or the last finish().
  std::string finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace kvasir::hub
