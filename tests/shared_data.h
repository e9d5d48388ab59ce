#pragma once

// Where tests find data. Real models, tokenizers and goldens lie beside the checkout (../shared/data) and are
// not part of the product: a test that needs them says "skipped" where they are missing. The product's own
// goldens lie in tests/data and are always there.

#include <cstdlib>
#include <filesystem>
#include <string>

namespace kvasir::testing {

// The folder of shared test data: $KVASIR_SHARED_DATA, else ../shared/data of the checkout; may not exist.
inline std::filesystem::path shared_data_dir() {
  if (const char* dir = std::getenv("KVASIR_SHARED_DATA")) return dir;
  return std::filesystem::path(KVASIR_SOURCE_DIR) / ".." / "shared" / "data";
}

// tests/data of the checkout.
inline std::filesystem::path test_data_dir() {
  return std::filesystem::path(KVASIR_SOURCE_DIR) / "tests" / "data";
}

}  // namespace kvasir::testing

// Skips the running test when shared_data_dir()/`path` is not there.
#define KVASIR_REQUIRE_SHARED_DATA(path)                                                        \
  if (!std::filesystem::exists(::kvasir::testing::shared_data_dir() / (path))) {                \
    GTEST_SKIP() << "skipped: no " << (::kvasir::testing::shared_data_dir() / (path)).string(); \
  }
