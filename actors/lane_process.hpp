#pragma once

// Lane process: a lane whose death takes nobody along. The program that `viva lane` runs, started
// by a guardian only.

namespace viva::actors {

/// The exit code: 0 told to leave, 2 nobody guards it; deaths have codes of their own.
int run_lane_process();
/// `viva lane nursery`: waits, and is copied whenever a lane is needed (supervision/ward.hpp).
int run_lane_nursery();

} // namespace viva::actors
