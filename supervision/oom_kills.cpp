#include "supervision/oom_kills.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace viva::supervision {
namespace {

// earlyoom kills below 5 % (systemd-oomd looks at other signs, and may kill above); a look that is
// a tick older than its own may have seen a little more.
constexpr std::uint64_t low_percent = 6;

std::string text_of(const std::string& file) {
  std::ifstream in{file};
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

/// The file that counts for this process's control group: version 2, else version 1.
std::string counting_file() {
  std::istringstream groups{text_of("/proc/self/cgroup")};
  std::string second;
  for (std::string line; std::getline(groups, line);) {
    const auto path = line.substr(line.find(':', line.find(':') + 1) + 1);
    if (line.find(":memory:") != std::string::npos)
      return "/sys/fs/cgroup/memory" + path + "/memory.oom_control";
    if (line.starts_with("0::"))
      second = "/sys/fs/cgroup" + path + "/memory.events";
  }
  return second;
}

/// The number behind a key at the beginning of a line; nothing where no line has the key.
std::optional<std::uint64_t> number_behind(std::string_view key, std::string_view text) noexcept {
  for (auto at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    if (at > 0 && text[at - 1] != '\n')
      continue;
    auto number = text.substr(at + key.size());
    number.remove_prefix(std::min(number.find_first_not_of(' '), number.size()));
    std::uint64_t count = 0;
    std::from_chars(number.data(), number.data() + number.size(), count);
    return count;
  }
  return std::nullopt;
}

} // namespace

std::uint64_t oom_kills_in(std::string_view text) noexcept {
  return number_behind("oom_kill ", text).value_or(0);
}

std::uint64_t oom_kills() {
  const auto here = number_behind("oom_kill ", text_of(counting_file()));
  return here ? *here : oom_kills_in(text_of("/proc/vmstat"));
}

memory_counts memory_left_in(std::string_view text) noexcept {
  const auto total = number_behind("MemTotal:", text);
  const auto available = number_behind("MemAvailable:", text);
  return total && available ? memory_counts{*total, *available} : memory_counts{};
}

memory_counts memory_left(const std::string& meminfo) {
  return memory_left_in(text_of(meminfo));
}

bool is_low(memory_counts memory) noexcept {
  return memory.available * 100 < memory.total * low_percent;
}

} // namespace viva::supervision
