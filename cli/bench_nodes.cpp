// viva bench nodes: bytes between nodes over loopback, beside what Asio moves at most.

#include "bench/nodes_bench.hpp"
#include "cli/build_facts.hpp"
#include "cli/invocation.hpp"
#include "cli/lines.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <memory>

namespace viva::cli {

namespace {

std::string json_of(const bench::nodes_line& line) {
  const nlohmann::json to_raw_files
    = line.to_raw_files ? nlohmann::json(*line.to_raw_files) : nlohmann::json();
  return nlohmann::ordered_json{{"metric", line.metric},
                                {"mb_per_s", line.mb_per_s},
                                {"mad", line.deviation},
                                {"cpu_s_per_gb", line.cpu_s_per_gb},
                                {"to_raw", line.to_raw},
                                {"to_raw_files", to_raw_files},
                                {"compiler", build_compiler},
                                {"commit", build_commit}}
             .dump()
         + "\n";
}

expected<exit_code> run(const bench::nodes_bench_options& options, bool json) {
  lines out;
  if (!json)
    out.show(fmt::format("{:<12}{:>10}{:>8}{:>12}{:>8}{:>12}\n", "metric", "MB/s", "MAD",
                         "CPU s/GB", "x raw", "x raw_files"));
  const auto done = bench::measure_nodes(options, [&](const bench::nodes_line& line) {
    out.show(json ? json_of(line)
                  : fmt::format("{:<12}{:>10.0f}{:>8.0f}{:>12.2f}{:>8.2f}{:>12}\n", line.metric,
                                line.mb_per_s, line.deviation, line.cpu_s_per_gb, line.to_raw,
                                line.to_raw_files ? fmt::format("{:.2f}", *line.to_raw_files)
                                                  : "-"));
  });
  if (!done)
    return tl::make_unexpected(done.error());
  return out.end().map([] { return exit_code::done; });
}

} // namespace

void add_bench_nodes(CLI::App& group, invocation& call) {
  auto* app = group.add_subcommand(
      "nodes", "bytes between nodes over loopback, plain and in TLS, beside a raw Asio loop");
  auto options = std::make_shared<bench::nodes_bench_options>();
  app->add_option("--mebibytes", options->mebibytes, "of a round (default 1024)")
      ->check(CLI::Range(1u, 1u << 20))
      ->type_name("N");
  app->add_option("--rounds", options->rounds, "the median is of so many (default 5)")
      ->check(CLI::Range(1u, 1000u))
      ->type_name("N");
  add_common_flags(*app, call);
  app->callback([&call, options] {
    call.run = [&call, options](const settings&) { return run(*options, call.json); };
  });
}

} // namespace viva::cli
