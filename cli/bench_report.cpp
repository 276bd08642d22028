// viva bench report: the report that this project answers to, row by row, beside what holds here.

#include "cli/invocation.hpp"

#include "bench/report_bench.hpp"
#include "cli/build_facts.hpp"
#include "cli/stamp.hpp"
#include "formats/shown.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

namespace viva::cli {

namespace {

struct bench_report_flags {
  bench::report_options options;
  std::string json, markdown, plots;
};

expected<void> write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file)
    return fail(errno == ENOSPC ? errc::disk_full : errc::cannot_write,
                formats::shown(path) + ": cannot be written: " + std::strerror(errno)
                    + "; name a place in an existing, writable folder");
  return {};
}

expected<exit_code> run(const bench_report_flags& flags) {
  spdlog::set_level(spdlog::level::off); // lanes are killed on purpose, and counted in the rows
  auto report = bench::run_report_bench(flags.options);
  if (!report)
    return tl::unexpected(report.error());
  report->machine = {{"cpu", cpu_name()},
                     {"threads", std::to_string(std::thread::hardware_concurrency())},
                     {"compiler", build_compiler},
                     {"commit", build_commit}};
  std::vector<std::pair<std::filesystem::path, std::string>> files;
  if (!flags.json.empty())
    files.emplace_back(flags.json, bench::report_json(*report));
  if (!flags.markdown.empty())
    files.emplace_back(flags.markdown, bench::report_markdown(*report));
  if (!flags.plots.empty()) {
    std::error_code ignored; // writing into it will tell
    std::filesystem::create_directories(flags.plots, ignored);
    for (const auto& [name, text] : bench::report_plots(*report))
      files.emplace_back(std::filesystem::path(flags.plots) / name, text);
  }
  for (const auto& [path, text] : files)
    if (auto done = write(path, text); !done)
      return tl::unexpected(done.error());
  if (auto done = print(bench::report_table(*report)); !done)
    return tl::unexpected(done.error());
  if (report->results_wrong != 0)
    return fail(errc::job_failed, std::to_string(report->results_wrong)
                                    + " results of the throughput rows are not the reference's");
  return exit_code::done;
}

} // namespace

void add_bench_report(CLI::App& group, invocation& call) {
  auto* app = group.add_subcommand(
      "report", "every row of the report this project answers to: claimed, ours, how measured");
  auto flags = std::make_shared<bench_report_flags>();
  auto& options = flags->options.throughput;
  options.kill_ms = 100;
  options.rounds = 3;
  app->add_option("--tensors", options.tensors, "of the throughput rows (default 1000000)")
      ->check(CLI::Range(std::uint64_t{1000}, std::uint64_t{100'000'000}))
      ->type_name("N");
  app->add_option("--lanes", options.lanes, "of the throughput rows (default 2)")
      ->check(CLI::Range(1, 256))
      ->type_name("N");
  app->add_option("--killed-seconds", options.killed_seconds,
                  "for how long lanes are killed, in each of two runs (default 3)")
      ->check(CLI::Range(0.1, 3600.0))
      ->type_name("S");
  app->add_option("--attention-keys", flags->options.attention_keys,
                  "lengths of the attention rows (default 64 1024 8192 32768)")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20))
      ->type_name("N");
  app->add_option("--json", flags->json, "also write the rows as JSON")->type_name("FILE");
  app->add_option("--markdown", flags->markdown, "also write them as a Markdown table")
      ->type_name("FILE");
  app->add_option("--plots", flags->plots,
                  "also draw compression, SQNR, memory of attention, and rates, as SVG")
      ->type_name("FOLDER");
  app->callback([&call, flags] { call.run = [flags](const settings&) { return run(*flags); }; });
}

} // namespace viva::cli
