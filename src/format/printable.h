#pragma once

// Text of a file in a message.

#include <string>
#include <string_view>

namespace kvasir::format {

// A name from a file, short enough for a message of one line.
inline std::string printable(std::string_view name) {
  std::string result(name.substr(0, 100));
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return result;
}

}  // namespace kvasir::format
