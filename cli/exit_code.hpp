#pragma once

// The exit codes of `viva`: the only place where an errc becomes a number for a shell (README).

#include "kernels/error.hpp"

namespace viva::cli {

enum class exit_code : int {
  done = 0,
  job_failed = 1,    ///< The journal is kept; the same command resumes.
  usage = 2,         ///< Asked wrongly; ask differently.
  bad_input = 3,     ///< Unreadable, malformed, NaN refused.
  gate_failed = 4,   ///< A --fail-if condition held.
  no_output = 5,     ///< Disk full, permission, write error.
  interrupted = 130, ///< Ctrl-C; resumable.
};

exit_code exit_code_of(errc code) noexcept;

} // namespace viva::cli
