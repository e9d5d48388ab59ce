#pragma once

namespace kvasir::server {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace kvasir::server
