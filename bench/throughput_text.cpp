// What the throughput of a pipeline looks like: a line of JSON, a table.

#include "bench/throughput_bench.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <cmath>

namespace viva::bench {

namespace {

const char* isolation_name(const throughput_options& options) {
  return !options.nodes.empty()                   ? "nodes"
         : options.lanes_are == isolation::process ? "process"
                                                   : "thread";
}

/// JSON has no infinity.
nlohmann::ordered_json finite(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

} // namespace

std::string to_json_line(const throughput_options& options, const throughput_result& r) {
  const nlohmann::ordered_json line = {
    {"tensors", options.tensors},
    {"values", options.values},
    {"method", options.method},
    {"lanes", options.lanes},
    {"nodes", options.nodes.size()},
    {"isolation", isolation_name(options)},
    {"batch_tensors", options.batch_tensors},
    {"wall_s", r.wall_s},
    {"rounds", options.rounds},
    {"tensors_per_s", r.tensors_per_s},
    {"tensors_per_s_mad", r.tensors_mad},
    {"values_per_s", r.tensors_per_s * static_cast<double>(options.values)},
    {"bare_tensors_per_s", r.bare_per_s},
    {"bare_tensors_per_s_mad", r.bare_mad},
    {"ratio_to_bare", r.ratio_to_bare},
    {"read_gb_s", r.read_gb_s},
    {"gb_s", r.gb_s},
    {"messages_per_tensor", r.messages_per_tensor},
    {"cpu_s", r.cpu_s},
    {"single_tensors_per_s", r.single_per_s},
    {"single_messages_per_tensor", r.single_messages_per_tensor},
    {"caf_messages_per_s", r.caf_messages_per_s},
    {"p50_us", r.p50_us},
    {"p99_us", r.p99_us},
    {"bare_p50_us", r.bare_p50_us},
    {"bare_p99_us", r.bare_p99_us},
    {"measured_tensors_per_s", r.measured_per_s},
    {"snr_db_mean", finite(r.snr_db_mean)},
    {"snr_db_least", finite(r.snr_db_least)},
    {"max_error", r.max_error},
    {"kill_ms", options.kill_ms},
    {"killed_tensors_per_s", r.killed_per_s},
    {"killed_ratio", r.killed_ratio},
    {"restarts", r.restarts},
    {"killed_restarts", r.killed_restarts},
    {"tickets_lost", r.tickets_lost},
    {"results_checked", r.results_checked},
    {"verified", r.results_wrong == 0},
  };
  return line.dump();
}

std::string to_table(const throughput_options& options, const throughput_result& r) {
  std::string out = fmt::format("{} tensors of {} f32 values, {}, {} lanes, {} isolation, "
                                "median of {} rounds\n\n",
                                options.tensors, options.values, options.method, options.lanes,
                                isolation_name(options), options.rounds);
  const auto row = [&out](std::string_view what, const std::string& how_much) {
    out += fmt::format("{:<34} {}\n", what, how_much);
  };
  row("tensors/s", fmt::format("{:.2f} M   (MAD {:.2f}; {:.2f} Gvalues/s, {:.1f} GB/s)",
                               r.tensors_per_s / 1e6, r.tensors_mad / 1e6,
                               r.tensors_per_s * static_cast<double>(options.values) / 1e9,
                               r.gb_s));
  row("bare loop, same threads",
      fmt::format("{:.2f} M   (MAD {:.2f})", r.bare_per_s / 1e6, r.bare_mad / 1e6));
  row("ratio to bare", fmt::format("{:.3f}", r.ratio_to_bare));
  row("read bandwidth", fmt::format("{:.1f} GB/s", r.read_gb_s));
  row("messages per tensor", fmt::format("{:.5f}", r.messages_per_tensor));
  row("processor seconds of wall", fmt::format("{:.3f} of {:.3f}", r.cpu_s, r.wall_s));
  row("one tensor a message", fmt::format("{:.2f} M/s; CAF's empty messages {:.2f} M/s",
                                          r.single_per_s / 1e6, r.caf_messages_per_s / 1e6));
  row("latency at half load", fmt::format("p50 {:.0f} us, p99 {:.0f} us; bare loop {:.0f}, {:.0f}",
                                          r.p50_us, r.p99_us, r.bare_p50_us, r.bare_p99_us));
  if (options.measure)
    row("each with its error",
        fmt::format("{:.2f} M/s; SQNR mean {:.2f} dB, least {:.2f} dB; largest error {:.4g}",
                    r.measured_per_s / 1e6, r.snr_db_mean, r.snr_db_least, r.max_error));
  if (options.kill_ms != 0)
    row(fmt::format("a lane killed every {} ms", options.kill_ms),
        fmt::format("{:.2f} M/s, {:.3f} of undisturbed; {} restarts, {} tickets run again",
                    r.killed_per_s / 1e6, r.killed_ratio, r.killed_restarts, r.tickets_lost));
  else if (r.restarts != 0)
    row("lanes that ended unasked", fmt::format("{}", r.restarts));
  row("results compared", fmt::format("{}, {} wrong", r.results_checked, r.results_wrong));
  return out;
}

} // namespace viva::bench
