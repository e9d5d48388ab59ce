#include "base/memory.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>
#include <string>

namespace kvasir {
namespace {

// The number in the file, if there is one ("max" is none).
void lower_to(const std::string& path, std::size_t& bytes) {
  std::ifstream file(path);
  std::size_t limit = 0;
  if (file >> limit) bytes = std::min(bytes, limit);
}

// The limits of a cgroup and of those above it.
void lower_to_cgroup(const std::string& root, std::string path, const char* file, std::size_t& bytes) {
  while (true) {
    lower_to(root + path + "/" + file, bytes);
    if (path.empty() || path == "/") return;
    path.resize(path.rfind('/'));
  }
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
  std::ifstream cgroups("/proc/self/cgroup");  // lines "id:controllers:path"
  for (std::string line; std::getline(cgroups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      lower_to_cgroup("/sys/fs/cgroup", path, "memory.max", bytes);
    } else if (controllers.find("memory") != std::string::npos) {
      lower_to_cgroup("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", bytes);
    }
  }
  // In a container the cgroup's own files are at the root.
  lower_to("/sys/fs/cgroup/memory.max", bytes);
  lower_to("/sys/fs/cgroup/memory/memory.limit_in_bytes", bytes);
  return bytes;
}

}  // namespace kvasir
