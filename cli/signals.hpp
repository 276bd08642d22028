#pragma once

// Ctrl-C: the first SIGINT or SIGTERM asks the job to stop cleanly, the second ends the process.

#include <atomic>

namespace viva::cli {

/// Installs the handlers once and returns the flag they set; give it to
/// `job_observer::interrupted`.
const std::atomic<bool>& watch_signals();

} // namespace viva::cli
