#pragma once

// KVASIR_CHECK is for our own bugs: it prints the condition and place and aborts. Bytes from a file, a socket
// or a tier never reach one.

#include <cstdio>
#include <cstdlib>

#define KVASIR_CHECK(condition)                                                          \
  do {                                                                                   \
    if (!(condition)) [[unlikely]] {                                                     \
      std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
