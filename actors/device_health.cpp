#include "actors/device_health.hpp"

#include "supervision/reason.hpp"

namespace viva::actors {

using supervision::fault;
using supervision::is;

bool device_health::lane_ended(const caf::error& reason) {
  const bool for_good = is(reason, fault::device_lost) || is(reason, fault::misconfigured)
                        || is(reason, fault::start_failed);
  const bool counts = supervision::ending_of(reason) == supervision::ending::abnormal
                      && !is(reason, fault::killed) && !is(reason, fault::fenced);
  const std::lock_guard lock{x_guard};
  x_deaths += counts ? 1 : 0;
  const bool before = x_usable;
  x_usable = x_usable && !for_good && x_deaths < deaths_max;
  return before && !x_usable;
}

void device_health::brought_batch_home() {
  const std::lock_guard lock{x_guard};
  x_deaths = 0;
}

bool device_health::usable() const {
  const std::lock_guard lock{x_guard};
  return x_usable;
}

} // namespace viva::actors
