#include "base/cgroup.h"

#include <fstream>

namespace kvasir {

std::vector<std::string> cgroup_folders() {
  // In a container the cgroup's own files may be at the root, whatever its path is called.
  std::vector<std::string> folders = {"/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu"};
  std::ifstream cgroups("/proc/self/cgroup");  // lines "id:controllers:path"; version 2 has no controllers
  for (std::string line; std::getline(cgroups, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    for (; path.size() > 1; path.resize(path.rfind('/'))) {
      folders.push_back("/sys/fs/cgroup" + (controllers.empty() ? "" : "/" + controllers) + path);
      if (path.rfind('/') == std::string::npos) break;
    }
  }
  return folders;
}

}  // namespace kvasir
