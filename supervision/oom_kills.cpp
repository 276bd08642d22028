#include "supervision/oom_kills.hpp"

#include <charconv>
#include <fstream>
#include <sstream>
#include <string>

namespace viva::supervision {
namespace {

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

} // namespace

std::uint64_t oom_kills_in(std::string_view text) noexcept {
  constexpr std::string_view key = "oom_kill ";
  for (auto at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1)) {
    if (at > 0 && text[at - 1] != '\n')
      continue;
    std::uint64_t count = 0;
    const auto number = text.substr(at + key.size());
    std::from_chars(number.data(), number.data() + number.size(), count);
    return count;
  }
  return 0;
}

std::uint64_t oom_kills() {
  const auto text = text_of(counting_file());
  return oom_kills_in(text.find("oom_kill ") != std::string::npos ? text : text_of("/proc/vmstat"));
}

} // namespace viva::supervision
