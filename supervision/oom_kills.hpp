#pragma once

// How often the system killed for memory here (in this control group where it counts, else on the
// whole machine), and how much of the machine's memory is left.

#include <cstdint>
#include <string>
#include <string_view>

namespace viva::supervision {

/// 0 where nothing counts.
std::uint64_t oom_kills();

/// The number behind "oom_kill " in memory.events, memory.oom_control or vmstat.
std::uint64_t oom_kills_in(std::string_view text) noexcept;

/// Of the whole machine, in KiB; both 0 where nothing tells.
struct memory_counts {
  std::uint64_t total = 0, available = 0;
};

/// What /proc/meminfo, or a file like it, tells now.
memory_counts memory_left(const std::string& meminfo);
memory_counts memory_left_in(std::string_view text) noexcept;

/// So little that those who watch the machine from outside of the kernel kill.
bool is_low(memory_counts memory) noexcept;

} // namespace viva::supervision
