#pragma once

// Stamp: what every line of a bench says of the machine and the build.

#include <nlohmann/json.hpp>

#include <string>

namespace viva::cli {

/// As Linux names the first processor; "unknown" where it does not.
const std::string& cpu_name();

/// The same line with "cpu", "compiler" and "commit".
nlohmann::ordered_json stamped(nlohmann::ordered_json line);

} // namespace viva::cli
