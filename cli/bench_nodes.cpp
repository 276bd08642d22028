// viva bench nodes: bytes between nodes over loopback, beside what Asio moves at most; questions
// and whole jobs over node processes of this host; what a coordinator of a thousand would cost;
// how soon the work of a lost node is done elsewhere.

#include "bench/coordinator_bench.hpp"
#include "bench/node_jobs.hpp"
#include "bench/node_recovery.hpp"
#include "bench/nodes_bench.hpp"
#include "cli/stamp.hpp"
#include "cli/invocation.hpp"
#include "cli/lines.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <memory>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

struct bench_flags {
  bench::nodes_bench_options bytes;
  bench::node_jobs_options jobs;
  bench::coordinator_options coordinator;
  std::string only;
  bool wants(std::string_view part) const {
    return only.empty() || only == part;
  }
};

std::string line_of(json what) {
  return stamped(std::move(what)).dump() + "\n";
}

expected<void> move_bytes(const bench_flags& flags, bool as_json, lines& out) {
  if (!as_json)
    out.show(fmt::format("{:<14}{:>10}{:>8}{:>12}{:>8}{:>12}\n", "metric", "MB/s", "MAD",
                         "CPU s/GB", "x raw", "x raw_files"));
  return bench::measure_nodes(flags.bytes, [&](const bench::nodes_line& line) {
    const auto& to_files = line.to_raw_files;
    out.show(as_json
               ? line_of({{"metric", line.metric},
                          {"mb_per_s", line.mb_per_s},
                          {"mad", line.deviation},
                          {"cpu_s_per_gb", line.cpu_s_per_gb},
                          {"to_raw", line.to_raw},
                          {"to_raw_files", to_files ? json(*to_files) : json()}})
               : fmt::format("{:<14}{:>10.0f}{:>8.0f}{:>12.2f}{:>8.2f}{:>12}\n", line.metric,
                             line.mb_per_s, line.deviation, line.cpu_s_per_gb, line.to_raw,
                             to_files ? fmt::format("{:.2f}", *to_files) : "-"));
  });
}

expected<void> run_jobs(const bench_flags& flags, bool as_json, lines& out) {
  return bench::measure_node_jobs(
    flags.jobs,
    [&](const bench::control_line& line) {
      out.show(as_json ? line_of({{"metric", "control"},
                                  {"median_us", line.median_us},
                                  {"p99_us", line.p99_us}})
                       : fmt::format("\ncontrol: a question and its answer {:.0f} us, p99 {:.0f} "
                                     "us\n\n{:<14}{:>10}{:>8}{:>12}{:>10}\n",
                                     line.median_us, line.p99_us, "metric", "MB/s", "MAD",
                                     "CPU s/GB", "x local"));
    },
    [&](const bench::node_job_line& line) {
      out.show(as_json ? line_of({{"metric", line.metric},
                                  {"mb_per_s", line.mb_per_s},
                                  {"mad", line.deviation},
                                  {"cpu_s_per_gb", line.cpu_s_per_gb},
                                  {"to_local", line.to_local}})
                       : fmt::format("{:<14}{:>10.0f}{:>8.0f}{:>12.2f}{:>10.2f}\n", line.metric,
                                     line.mb_per_s, line.deviation, line.cpu_s_per_gb,
                                     line.to_local));
    });
}

expected<void> play_coordinator(const bench_flags& flags, bool as_json, lines& out) {
  auto options = flags.coordinator;
  for (const bool encoded : {false, true}) {
    options.encoded = encoded;
    const auto cost = bench::measure_coordinator(options);
    if (!cost)
      return tl::make_unexpected(cost.error());
    out.show(as_json
               ? line_of({{"metric", encoded ? "coordinator_encoded" : "coordinator_copied"},
                          {"nodes", options.nodes},
                          {"lanes", options.nodes * options.lanes_per_node},
                          {"shards", cost->shards_done},
                          {"us_per_shard", cost->us_per_shard},
                          {"bytes_per_shard", cost->bytes_per_shard},
                          {"journal_bytes_per_shard", cost->journal_bytes},
                          {"messages_per_shard", cost->messages},
                          {"letter_bytes_per_shard", cost->letter_bytes}})
               : fmt::format("\ncoordinator of {} nodes, {} lanes, {} shards, {}: a shard takes it "
                             "{:.2f} us, {:.0f} bytes of memory, {:.0f} of journal, {:.1f} "
                             "messages, {:.0f} bytes of letters\n",
                             options.nodes, options.nodes * options.lanes_per_node,
                             cost->shards_done, encoded ? "encoded to nf4" : "copied",
                             cost->us_per_shard, cost->bytes_per_shard, cost->journal_bytes,
                             cost->messages, cost->letter_bytes));
  }
  return {};
}

expected<void> lose_nodes(const bench_flags& flags, bool as_json, lines& out) {
  if (!as_json)
    out.show(fmt::format("{:<16}{:>10}{:>10}{:>10}{:>10}\n", "metric", "again ms", "max", "limit",
                         "named ms"));
  return bench::measure_node_recovery(
    {.rounds = flags.bytes.rounds}, [&](const bench::node_recovery_line& line) {
      out.show(as_json ? line_of({{"metric", line.metric},
                                  {"again_ms", line.again_ms},
                                  {"again_ms_max", line.again_ms_max},
                                  {"limit_ms", line.limit_ms},
                                  {"named_ms", line.named_ms}})
                       : fmt::format("{:<16}{:>10.1f}{:>10.1f}{:>10.0f}{:>10.0f}\n", line.metric,
                                     line.again_ms, line.again_ms_max, line.limit_ms,
                                     line.named_ms));
    });
}

expected<exit_code> run(const bench_flags& flags, bool as_json) {
  lines out;
  expected<void> done;
  if (flags.wants("bytes"))
    done = move_bytes(flags, as_json, out);
  if (done && flags.wants("jobs"))
    done = run_jobs(flags, as_json, out);
  if (done && flags.wants("coordinator"))
    done = play_coordinator(flags, as_json, out);
  if (flags.only == "recovery") // 12 s a round, in which little moves
    done = lose_nodes(flags, as_json, out);
  if (!done)
    return tl::make_unexpected(done.error());
  return out.end().map([] { return exit_code::done; });
}

} // namespace

void add_bench_nodes(CLI::App& group, invocation& call) {
  auto* app = group.add_subcommand(
      "nodes", "bytes, questions and jobs between node processes of this host, beside a raw Asio "
               "loop; what a coordinator of many costs");
  auto flags = std::make_shared<bench_flags>();
  app->add_option("--mebibytes", flags->bytes.mebibytes, "moved in a round (default 1024)")
      ->check(CLI::Range(1u, 1u << 20))
      ->type_name("N");
  app->add_option("--rounds", flags->bytes.rounds, "the median is of so many (default 5)")
      ->check(CLI::Range(1u, 1000u))
      ->type_name("N");
  app->add_option("--job-mebibytes", flags->jobs.mebibytes, "source of a job (default 512)")
      ->check(CLI::Range(1u, 1u << 20))
      ->type_name("N");
  app->add_option("-m,--method", flags->jobs.method, "of the jobs (default nf4)")
      ->type_name("METHOD");
  app->add_option("--coordinated", flags->coordinator.nodes,
                  "nodes of two lanes in the play of a coordinator (default 1000)")
      ->check(CLI::Range(1u, 100'000u))
      ->type_name("N");
  app->add_option("--shards", flags->coordinator.shards, "… and their shards (default 1000000)")
      ->check(CLI::Range(1u, 100'000'000u))
      ->type_name("N");
  app->add_option("--only", flags->only, "one part; recovery, of lost nodes, only where it is said")
      ->check(CLI::IsMember({"bytes", "jobs", "coordinator", "recovery"}))
      ->type_name("bytes|jobs|coordinator|recovery");
  add_common_flags(*app, call);
  app->callback([&call, flags] {
    flags->jobs.rounds = flags->bytes.rounds;
    call.run = [&call, flags](const settings&) { return run(*flags, call.json); };
  });
}

} // namespace viva::cli
