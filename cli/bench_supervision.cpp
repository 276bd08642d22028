// viva bench supervision: restarts, starts, stops and messages of supervised actors.

#include "actors/port.hpp"
#include "bench/supervision_bench.hpp"
#include "cli/invocation.hpp"
#include "cli/lines.hpp"
#include "cli/stamp.hpp"

#include <memory>

namespace viva::cli {

namespace {

expected<exit_code> show_supervision(const bench::supervision_bench_options& options, bool json) {
  lines out;
  if (!json)
    out.show(bench::table_head());
  bench::measure_supervision(options, [&out, json](const bench::measurement& what) {
    out.show(json ? stamped(nlohmann::ordered_json::parse(bench::to_json_line(what))).dump() + '\n'
                  : bench::to_table_line(what));
  });
  return out.end().map([] { return exit_code::done; });
}

} // namespace

void add_bench_supervision(CLI::App& group, invocation& call) {
  auto* app = group.add_subcommand(
      "supervision",
      "restarts, starts, stops and messages of supervised actors, beside their goals");
  auto options = std::make_shared<bench::supervision_bench_options>();
  app->add_option("--samples", options->samples, "of each latency (default 10000)")
      ->check(CLI::Range(100u, 10'000'000u))
      ->type_name("N");
  app->add_option("--only", options->only, "metrics whose name begins so")->type_name("METRIC");
  add_common_flags(*app, call);
  app->callback([&call, options] {
    call.run = [&call, options](const settings&) -> expected<exit_code> {
      const auto lane = actors::lane_process_options("/proc/self/exe");
      options->ward_command = lane.command;
      options->ward_nursery = lane.nursery;
      options->ward_ready_words = lane.ready_words;
      return show_supervision(*options, call.json);
    };
  });
}

} // namespace viva::cli
