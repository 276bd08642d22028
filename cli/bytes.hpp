#pragma once

// Byte counts as people write and read them: "1GiB", "512MiB", "4GB", "1.5 GiB", "4096".

#include "kernels/error.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace viva::cli {

/// KiB, MiB, GiB, TiB are powers of 1024; KB, MB, GB, TB powers of 1000; a bare number is bytes.
/// Case does not matter. `bad_option` for anything else, for a negative and for more than 2^63.
expected<std::uint64_t> parse_bytes(std::string_view text);

/// "1.00 GiB", "17.3 MiB", "512 B": three significant digits.
std::string format_bytes(std::uint64_t bytes);

/// "1:02:03", "2:03", "0.84 s".
std::string format_seconds(double seconds);

} // namespace viva::cli
