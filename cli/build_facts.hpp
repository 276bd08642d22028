#pragma once

// What this program was built from. Both are settled by the build.

namespace viva::cli {

extern const char* const build_commit; ///< Short commit hash, "+" when the tree had changes; or "".
extern const char* const build_compiler; ///< "GNU 12.2.0"

} // namespace viva::cli
