#include "hub/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include "base/check.h"

namespace kvasir::hub {

// A failure of these functions is one of memory or of how OpenSSL was built.
Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  KVASIR_CHECK(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
}

void Sha256::update(std::string_view bytes) {
  KVASIR_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  KVASIR_CHECK(EVP_DigestFinal_ex(context_.get(), digest, &length) == 1 &&
               EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  std::string text;
  for (unsigned int i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

}  // namespace kvasir::hub
