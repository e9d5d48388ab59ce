#include "hub/blob_checksum.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include "base/check.h"
#include "hub/names.h"

namespace kvasir::hub {

BlobChecksum::BlobChecksum(std::string_view name, std::uint64_t num_bytes)
    : is_git_(is_commit_hash(name)),  // git names blobs as it names commits
      num_bytes_(num_bytes) {
  if (!is_git_ && !is_sha256(name)) return;
  context_.reset(EVP_MD_CTX_new());
  begin();
}

std::string_view BlobChecksum::algorithm() const {
  if (!context_) return {};
  return is_git_ ? "SHA-1 of a git blob" : "SHA-256";
}

// A failure of OpenSSL's functions is one of memory or of how it was built.
void BlobChecksum::begin() {
  KVASIR_CHECK(context_ != nullptr &&
               EVP_DigestInit_ex(context_.get(), is_git_ ? EVP_sha1() : EVP_sha256(), nullptr) == 1);
  if (!is_git_) return;
  const std::string header = fmt::format("blob {}", num_bytes_);
  update({header.c_str(), header.size() + 1});  // with the '\0'
}

void BlobChecksum::update(std::string_view bytes) {
  if (context_) KVASIR_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

std::string BlobChecksum::finish() {
  if (!context_) return {};
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  KVASIR_CHECK(EVP_DigestFinal_ex(context_.get(), digest, &length) == 1);
  begin();
  std::string text;
  for (unsigned int i = 0; i < length; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

void BlobChecksum::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

}  // namespace kvasir::hub
