#pragma once

// Roots: the folders below which a node reads and writes for others.

#include "kernels/error.hpp"

#include <filesystem>
#include <string_view>
#include <vector>

namespace viva::actors::node {

/// Absolute folders with colons between, as in "/data:/models". Each must be there.
expected<std::vector<std::filesystem::path>> parse_roots(std::string_view text);

/// Fails where the file, which need not be there yet, does not lie below one of them, whatever
/// links and dots its name has.
expected<void> check_below(const std::vector<std::filesystem::path>& roots,
                           const std::filesystem::path& file);

} // namespace viva::actors::node
