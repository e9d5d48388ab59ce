#pragma once

// Sizes of memory: as people write them, and what this process may use.

#include <cstddef>
#include <string_view>

#include "base/status.h"

namespace kvasir {

// "512MiB", "2GiB", "1.5G", "4096": bytes. Units: K, M, G, T with or without "iB" or "B", all powers of 1024.
// Errors: kInvalidArgument.
Result<std::size_t> parse_memory_size(std::string_view text);

// The machine's memory, or less where the cgroup (v1 or v2) of this process has a limit.
std::size_t usable_memory_bytes();

}  // namespace kvasir
