#pragma once

// Where the kernel keeps the limits of this process's control groups (man 7 cgroups), versions 1 and 2.

#include <string>
#include <vector>

namespace kvasir {

// The folders of every cgroup that this process is in, and of those above them: a limit in any of them
// counts. Not every one need exist, nor have every file.
std::vector<std::string> cgroup_folders();

}  // namespace kvasir
