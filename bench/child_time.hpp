#pragma once

// Processor time of all processes that this one has begun, and theirs, while they live.

namespace viva::bench {

/// Seconds, to the nanosecond where the kernel keeps such books (/proc/PID/task/TID/schedstat), 0
/// where it does not. Threads and processes that have ended are in it no more.
double processor_seconds_of_children();

} // namespace viva::bench
