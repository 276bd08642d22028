#pragma once

// How often the system killed for memory here: in this control group where it counts, else on the
// whole machine.

#include <cstdint>
#include <string_view>

namespace viva::supervision {

/// 0 where nothing counts.
std::uint64_t oom_kills();

/// The number behind "oom_kill " in memory.events, memory.oom_control or vmstat.
std::uint64_t oom_kills_in(std::string_view text) noexcept;

} // namespace viva::supervision
