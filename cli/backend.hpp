#pragma once

// Backend: which devices work on a job, from --backend and --devices and what is here.

#include "actors/job.hpp"
#include "cli/settings.hpp"
#include "kernels/device.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace viva::cli {

struct device_choice {
  std::vector<int> devices; ///< None: lanes of the processor do all.
  std::string warning;      ///< To be said once; empty where nothing is.
};

/// `backend` is cpu, auto (devices where there are some) or cuda (a warning where there are none);
/// `listed` numbers with commas between, or empty for all there are. Refuses numbers that are none,
/// or are not among the devices found.
expected<device_choice> choose_devices(std::string_view backend, std::string_view listed,
                                       const kernels::device_census& found);

/// The same by the settings in force; looks for devices only where the backend may use them.
expected<void> add_devices(const settings& in_force, job_limits& limits);

} // namespace viva::cli
