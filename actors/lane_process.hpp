#pragma once

// Lane process: a lane whose death takes nobody along. The program that `viva lane` runs, started
// by a guardian only.

#include "actors/device_engine.hpp"

namespace viva::actors {

/// The exit code: 0 told to leave, 2 nobody guards it; deaths have codes of their own.
int run_lane_process();
/// `viva lane cuda NUMBER`: a lane with a device. Ready once the device's kernels, too, give the
/// known answer.
int run_device_lane(int number, const device_opener& open = open_cuda_device);
/// `viva lane nursery`: waits, and is copied whenever a lane is needed (supervision/ward.hpp).
int run_lane_nursery();

} // namespace viva::actors
