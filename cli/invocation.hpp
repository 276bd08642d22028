#pragma once

// What the subcommands share: the flags of the command line, and the one function it chose.

#include "cli/exit_code.hpp"
#include "cli/gate.hpp"
#include "cli/paths.hpp"
#include "cli/progress.hpp"
#include "cli/settings.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json_fwd.hpp>

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace viva::cli {

struct verdict;

struct invocation {
  bool json = false; ///< One JSON document on stdout, errors too.
  bool progress_lines = false, progress_none = false;
  bool takes_faults = false; ///< The chosen subcommand judges the setting `faults` itself.
  std::string conf;                                        ///< --conf
  std::map<std::string, std::string> flags;                ///< Settings given as flags, by key.
  std::function<expected<exit_code>(const settings&)> run; ///< Of the chosen subcommand.
};

/// What a job's report is asked for: file, gates, rows.
struct report_options {
  std::string file, metrics;
  std::vector<std::string> gate_texts;
  std::size_t rows = 20;
};

/// Which machines work on a job.
struct node_flags {
  std::string nodes;
  bool shared_fs = false, insecure = false;
  void apply(job_limits&) const;
};

/// --json, --conf, --log-level: on every subcommand.
void add_common_flags(CLI::App&, invocation&);
/// Flags of the settings table, as `settings.hpp` spells them; checked later in one place.
void add_setting_flags(CLI::App&, invocation&, std::initializer_list<std::string_view> keys);
/// The flags of lending, and --shared-fs.
void add_node_flags(CLI::App&, invocation&, node_flags&);
/// Of work without files, too: --nodes, --insecure, --tls, --node-timeout.
void add_lending_flags(CLI::App&, invocation&, node_flags&);
/// --json-progress and --no-progress.
void add_progress_flags(CLI::App&, invocation&);
/// --report, --metrics, --fail-if, --rows.
void add_report_flags(CLI::App&, report_options&);

/// Runs a job between progress and report: checks gates and the places of report and metrics
/// first, shows progress, keeps the metrics' file true, writes and prints the report, and turns
/// failed gates into their exit code.
expected<exit_code> run_job(const invocation&, const report_options&, verdict, const job_paths&,
                            const std::string& name,
                            const std::function<expected<job_report>(const job_observer&)>& job);

/// To stdout. A reader that is gone or a full disk is an error like any other output's.
[[nodiscard]] expected<void> print(std::string_view text);
/// The one document.
[[nodiscard]] expected<void> print_json(const nlohmann::ordered_json&);

/// Says what went wrong, as one document on stdout where `json`, else as one line on stderr.
/// Returns its exit code.
int answer(const error&, bool json);
/// Runs the program; an exception is a defect of ours and answered as one.
int guarded(bool json, const std::function<int()>& program);

void add_synth(CLI::App&, invocation&);
void add_quantize(CLI::App&, invocation&);
void add_prune(CLI::App&, invocation&);
void add_dequantize(CLI::App&, invocation&);
void add_compare(CLI::App&, invocation&);
void add_inspect(CLI::App&, invocation&);
void add_node(CLI::App&, invocation&);
void add_nodes(CLI::App&, invocation&);
void add_info(CLI::App&, invocation&);
void add_attention(CLI::App&, invocation&);
void add_certs(CLI::App&, invocation&);
void add_bench(CLI::App&, invocation&);
void add_bench_attention(CLI::App& group, invocation&);
void add_bench_kernels(CLI::App& group, invocation&);
void add_bench_nodes(CLI::App& group, invocation&);
void add_bench_quality(CLI::App& group, invocation&);
void add_bench_report(CLI::App& group, invocation&);
void add_bench_supervision(CLI::App& group, invocation&);
void add_bench_throughput(CLI::App& group, invocation&);
void add_status(CLI::App&, invocation&);
void add_tree(CLI::App&, invocation&);

} // namespace viva::cli
