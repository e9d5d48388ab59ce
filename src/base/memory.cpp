#include "base/memory.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>
#include <string>

#include "base/cgroup.h"

namespace kvasir {
namespace {

// The number in the file, if there is one ("max" is none).
void lower_to(const std::string& path, std::size_t& bytes) {
  std::ifstream file(path);
  std::size_t limit = 0;
  if (file >> limit) bytes = std::min(bytes, limit);
}

}  // namespace

Result<std::size_t> parse_memory_size(std::string_view text) {
  const auto fail = [&] {
    return error(StatusCode::kInvalidArgument, "expected a size such as 512MiB or 2GiB, got '{}'",
                 text.substr(0, 40));
  };
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || !(value >= 0)) return fail();
  std::string unit(end, text.data() + text.size());
  for (char& c : unit) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  double scale = 1;
  if (!unit.empty() && unit != "B") {
    const std::size_t power = std::string_view("KMGT").find(unit[0]);
    const std::string_view rest = std::string_view(unit).substr(1);
    if (power == std::string_view::npos || !(rest.empty() || rest == "B" || rest == "IB")) return fail();
    for (std::size_t i = 0; i <= power; ++i) scale *= 1024;
  }
  const double bytes = value * scale;
  if (bytes >= 0x1p62) return fail();
  return static_cast<std::size_t>(bytes);
}

std::size_t usable_memory_bytes() {
  std::size_t bytes =
      static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  for (const std::string& folder : cgroup_folders()) {
    lower_to(folder + "/memory.max", bytes);
    lower_to(folder + "/memory.limit_in_bytes", bytes);
  }
  return bytes;
}

}  // namespace kvasir
