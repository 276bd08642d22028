#pragma once

#include <string_view>

namespace viva::cli {

/// What the program says where the system gives it no memory.
inline constexpr std::string_view no_memory_words =
    "the system gives no more memory; stop other programs or ask for less with --max-memory, then "
    "run the same command again; a job goes on from what it had done";

} // namespace viva::cli
