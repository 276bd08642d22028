#pragma once

#include <string>
#include <string_view>

namespace viva::actors {

/// The release; in every output's metadata and journal.
inline constexpr const char* version = "0.1.0";

/// xxh3-64 of some bytes as 16 hex digits, for fingerprints.
std::string digest(std::string_view bytes);

} // namespace viva::actors
