#include "cli/backend.hpp"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>

namespace viva::cli {

namespace {

expected<std::vector<int>> numbers_in(std::string_view listed) {
  std::vector<int> numbers;
  for (std::size_t at = 0; at <= listed.size();) {
    const auto end = std::min(listed.find(',', at), listed.size());
    int number = -1;
    const auto [rest, problem] =
        std::from_chars(listed.data() + at, listed.data() + end, number);
    if (problem != std::errc{} || rest != listed.data() + end || number < 0
        || std::ranges::count(numbers, number) != 0)
      return fail(errc::bad_option,
                  fmt::format("--devices '{}' is not a list of different numbers, as 0,1 is; viva "
                              "info lists the devices",
                              listed));
    numbers.push_back(number);
    at = end + 1;
  }
  return numbers;
}

} // namespace

expected<device_choice> choose_devices(std::string_view backend, std::string_view listed,
                                       const kernels::device_census& found) {
  device_choice chosen;
  if (!listed.empty()) {
    auto numbers = numbers_in(listed);
    if (!numbers)
      return tl::make_unexpected(numbers.error());
    chosen.devices = std::move(*numbers);
  }
  if (backend == "cpu") {
    if (!listed.empty())
      return fail(errc::bad_option,
                  fmt::format("--devices {} wants --backend cuda or auto", listed));
    return chosen;
  }
  if (found.devices.empty()) {
    chosen.devices.clear();
    if (backend == "cuda" || !listed.empty())
      chosen.warning = fmt::format("no device works on this job, the processor does all: {}",
                                   found.why);
    return chosen;
  }
  const auto is_here = [&](int number) {
    return std::ranges::find(found.devices, number, &kernels::device_facts::number)
           != found.devices.end();
  };
  if (const auto missing = std::ranges::find_if_not(chosen.devices, is_here);
      missing != chosen.devices.end())
    return fail(errc::bad_option,
                fmt::format("--devices: there is no device {}; viva info lists 0 to {}", *missing,
                            found.devices.back().number));
  if (listed.empty())
    for (const auto& each : found.devices)
      chosen.devices.push_back(each.number);
  return chosen;
}

expected<void> add_devices(const settings& in_force, job_limits& limits) {
  const auto& backend = in_force.at("backend").text;
  auto chosen =
      choose_devices(backend, in_force.at("devices").text,
                     backend == "cpu" ? kernels::device_census{} : kernels::find_devices());
  if (!chosen)
    return tl::make_unexpected(chosen.error());
  if (!chosen->warning.empty())
    spdlog::warn("{}", chosen->warning);
  limits.devices = std::move(chosen->devices);
  return {};
}

} // namespace viva::cli
