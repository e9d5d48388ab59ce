#include "server/openapi.h"

// From openapi.S.
extern "C" const char kvasir_openapi_begin[], kvasir_openapi_end[];

namespace kvasir::server {

std::string_view openapi_document() {
  return {kvasir_openapi_begin, kvasir_openapi_end};
}

}  // namespace kvasir::server
