// How measurements of supervision are printed, and what they are held against.

#include "bench/supervision_bench.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

namespace viva::bench {

const std::vector<goal>& supervision_goals() {
  static const std::vector<goal> goals{
    {.metric = "restart.kill", .median_us = 5.5, .p99_us = 21.0},
    {.metric = "restart.crash_reported", .median_us = 20.0},
    {.metric = "restart.kill_window_10000", .median_us = 10.0},
    {.metric = "give_up.window_10000", .median_us = 10.0},
    {.metric = "restart.one_for_all_64", .median_us = 348.0},
    {.metric = "process.kill", .p99_us = 2000.0},
    {.metric = "process.kill_spare", .median_us = 1000.0},
    {.metric = "start_child", .per_s = 200'000.0},
    {.metric = "stop.instances_100000", .median_us = 1.5e6},
  };
  return goals;
}

std::string to_json_line(const measurement& what) {
  const auto rounded = [](double x) { return std::round(x * 1000.0) / 1000.0; };
  nlohmann::ordered_json line{{"metric", what.metric}};
  if (what.median_us)
    line["median_us"] = rounded(*what.median_us);
  if (what.p99_us)
    line["p99_us"] = rounded(*what.p99_us);
  if (what.per_s)
    line["per_s"] = std::round(*what.per_s);
  line["samples"] = what.samples;
  return line.dump();
}

std::string table_head() {
  return fmt::format("{:<28}{:>14}{:>14}{:>14}   {}\n", "metric", "median us", "p99 us", "per s",
                     "goal");
}

std::string to_table_line(const measurement& what) {
  const auto cell = [](const std::optional<double>& x, int digits) {
    return x ? fmt::format("{:.{}f}", *x, digits) : std::string{};
  };
  auto line = fmt::format("{:<28}{:>14}{:>14}{:>14}", what.metric, cell(what.median_us, 2),
                          cell(what.p99_us, 2), cell(what.per_s, 0));
  const auto& goals = supervision_goals();
  const auto held = std::ranges::find(goals, what.metric, &goal::metric);
  if (held == goals.end())
    return line + '\n';
  std::string words;
  bool met = true;
  const auto compare = [&](const std::optional<double>& bound, const std::optional<double>& is,
                           std::string_view name, bool upper) {
    if (!bound || !is)
      return;
    words += fmt::format("{}{} {} {:g}", words.empty() ? "" : ", ", name, upper ? "<=" : ">=",
                         *bound);
    met = met && (upper ? *is <= *bound : *is >= *bound);
  };
  compare(held->median_us, what.median_us, "median", true);
  compare(held->p99_us, what.p99_us, "p99", true);
  compare(held->per_s, what.per_s, "rate", false);
  return fmt::format("{}   {}: {}\n", line, words, met ? "met" : "MISSED");
}

} // namespace viva::bench
