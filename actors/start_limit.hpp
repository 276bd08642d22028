#pragma once

#include "supervision/orders.hpp"

#include <memory>

namespace viva::actors {

/// Starts of all lanes and links of one process together, beyond the first `starts_burst`: a start
/// of a process costs a millisecond or more of the machine that others work on. Two lanes that
/// always die start 40 times a second for their backoff alone; a thousand would take all cores.
constexpr std::uint32_t starts_per_s = 200, starts_burst = 200;

inline std::shared_ptr<supervision::shared_bucket> limit_of_starts() {
  return std::make_shared<supervision::shared_bucket>(starts_per_s, starts_burst);
}

} // namespace viva::actors
