// viva bench throughput: many small tensors through the pipeline, beside the bare kernel.

#include "cli/invocation.hpp"
#include "cli/lines.hpp"
#include "cli/stamp.hpp"

#include "bench/throughput_bench.hpp"

#include <spdlog/spdlog.h>

#include <map>
#include <memory>

namespace viva::cli {

namespace {

struct throughput_flags {
  bench::throughput_options options;
  std::string faults, file;
  node_flags machines;
};

/// "kill=100ms".
expected<std::uint32_t> kill_period(const std::string& words) {
  if (words.empty())
    return 0u;
  std::uint32_t ms = 0;
  if (words.starts_with("kill=") && words.ends_with("ms") && words.size() <= 14) {
    const auto digits = words.substr(5, words.size() - 7);
    for (const char c : digits)
      ms = c >= '0' && c <= '9' && ms < 1'000'000 ? ms * 10 + static_cast<std::uint32_t>(c - '0')
                                                  : 100'000'000;
  }
  if (ms == 0 || ms > 60'000)
    return fail(errc::bad_option, "--faults " + words + ": takes kill=100ms, 1 to 60000 ms");
  return ms;
}

expected<exit_code> run(throughput_flags flags, const settings& in_force) {
  const auto period = kill_period(flags.faults);
  if (!period)
    return tl::unexpected(period.error());
  flags.options.kill_ms = *period;
  auto limits = in_force.limits();
  flags.machines.apply(limits);
  flags.options.nodes = limits.nodes;
  flags.options.tls = limits.tls;
  flags.options.insecure = limits.insecure;
  if (limits.node_timeout_seconds != 0) // or as long as the library waits
    flags.options.node_timeout_seconds = limits.node_timeout_seconds;
  lines out;
  if (auto opened = out.open(flags.file); !opened)
    return tl::unexpected(opened.error());
  if (*period != 0)
    spdlog::set_level(spdlog::level::off); // the deaths are ordered, and counted in the table
  const auto result = bench::measure_throughput(flags.options);
  if (!result)
    return tl::unexpected(result.error());
  const auto line = nlohmann::ordered_json::parse(bench::to_json_line(flags.options, *result));
  out.keep(stamped(line).dump());
  out.show(bench::to_table(flags.options, *result));
  if (result->results_wrong != 0)
    return fail(errc::job_failed, std::to_string(result->results_wrong)
                                    + " results are not the reference's");
  return out.end().map([] { return exit_code::done; });
}

} // namespace

void add_bench_throughput(CLI::App& group, invocation& call) {
  auto* app = group.add_subcommand(
      "throughput", "many small tensors through the embedded pipeline, beside the bare kernel");
  auto flags = std::make_shared<throughput_flags>();
  auto& options = flags->options;
  app->add_option("--tensors", options.tensors, "how many (default 1000000)")
      ->check(CLI::Range(std::uint64_t{1000}, std::uint64_t{100'000'000}))
      ->type_name("N");
  app->add_option("--values", options.values, "f32 values of each (default 512)")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000}))
      ->type_name("N");
  app->add_option("-m,--method", options.method, "with its options (default int8)")
      ->type_name("METHOD");
  app->add_option("--lanes", options.lanes,
                  "threads that compute, or lanes of each node (default 2)")
      ->check(CLI::Range(1, 256))
      ->type_name("N");
  app->add_option("--isolation", options.lanes_are, "what lanes are (default thread)")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, isolation>{{"thread", isolation::thread},
                                           {"process", isolation::process}}))
      ->type_name("thread|process");
  app->add_flag("--measure", options.measure, "also with the error of each, in a run of its own");
  app->add_option("--batch", options.batch_tensors,
                  "tensors of one message (default 1024, of processes 4096; for latency 256, 1024)")
      ->check(CLI::Range(1, 65536))
      ->type_name("N");
  app->add_option("--rounds", options.rounds, "rates are medians of so many (default 5)")
      ->check(CLI::Range(1, 1001))
      ->type_name("N");
  app->add_option("--faults", flags->faults, "kill=100ms: a lane dies so often, in its own run")
      ->type_name("FAULTS");
  app->add_option("--killed-seconds", options.killed_seconds,
                  "for how long at least lanes die (default 3)")
      ->check(CLI::Range(0.1, 3600.0))
      ->type_name("S");
  app->add_option("--json", flags->file, "also write one JSON line to this file")
      ->type_name("FILE");
  add_lending_flags(*app, call, flags->machines);
  app->callback([&call, flags] {
    call.run = [flags](const settings& in_force) { return run(*flags, in_force); };
  });
}

} // namespace viva::cli
