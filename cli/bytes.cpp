#include "cli/bytes.hpp"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

namespace viva::cli {

namespace {

struct unit {
  std::string_view name;
  double bytes;
};

constexpr std::array<unit, 14> units = {{{"", 1},
                                         {"b", 1},
                                         {"k", 1024.0},
                                         {"kib", 1024.0},
                                         {"mib", 1048576.0},
                                         {"gib", 1073741824.0},
                                         {"tib", 1099511627776.0},
                                         {"m", 1048576.0},
                                         {"g", 1073741824.0},
                                         {"t", 1099511627776.0},
                                         {"kb", 1e3},
                                         {"mb", 1e6},
                                         {"gb", 1e9},
                                         {"tb", 1e12}}};

} // namespace

expected<std::uint64_t> parse_bytes(std::string_view text) {
  const auto refuse = [&] {
    return fail(errc::bad_option,
                fmt::format("'{}' is no size; write 1GiB, 512MiB, 4GB or bytes", text));
  };
  const auto* const end = text.data() + text.size();
  double number = 0;
  const auto [rest, problem] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (problem != std::errc{} || !(number >= 0))
    return refuse();
  std::string suffix(rest, end);
  std::erase(suffix, ' ');
  std::ranges::transform(suffix, suffix.begin(), [](unsigned char c) { return std::tolower(c); });
  const auto* found = std::ranges::find(units, suffix, &unit::name);
  if (found == units.end() || number * found->bytes > 0x1p63)
    return refuse();
  // A bare integer is exact beyond 2^53, where a double is not.
  std::uint64_t whole = 0;
  const auto exact = std::from_chars(text.data(), rest, whole);
  if (exact.ptr == rest && exact.ec == std::errc{})
    return whole * static_cast<std::uint64_t>(found->bytes);
  return static_cast<std::uint64_t>(std::llround(number * found->bytes));
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1024)
    return fmt::format("{} B", bytes);
  static constexpr std::array<std::string_view, 6> names = {"KiB", "MiB", "GiB",
                                                            "TiB", "PiB", "EiB"};
  double number = static_cast<double>(bytes) / 1024;
  std::size_t name = 0;
  for (; number >= 1000 && name + 1 < names.size(); ++name)
    number /= 1024;
  const int digits = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f} {}", number, digits, names[name]);
}

std::string format_seconds(double seconds) {
  if (seconds < 60)
    return fmt::format("{:.2f} s", seconds);
  const auto whole = static_cast<std::uint64_t>(seconds + 0.5);
  if (whole < 3600)
    return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

} // namespace viva::cli
