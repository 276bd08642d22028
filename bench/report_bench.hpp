#pragma once

// The report that this project answers to (2026-01-26), row by row: what it claimed, what holds,
// and how that was found. Figures of `ours` are measured in this run unless `how` says computed.

#include "bench/throughput_bench.hpp"
#include "kernels/error.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace viva::bench {

struct report_options {
  throughput_options throughput;
  /// Lengths at which the memory of attention is measured, each the queries and keys of one head.
  std::vector<std::size_t> attention_keys{64, 1024, 8192, 32768};
};

struct report_row {
  std::string section; ///< "Compression", "Error", "Throughput", …
  std::string what, claimed, ours, how;
};

/// One bar of a plot; a claim is drawn beside what holds.
struct report_bar {
  std::string plot, unit, label;
  std::optional<double> claimed;
  double ours = 0;
};

struct report {
  std::uint64_t results_wrong = 0; ///< Of the throughput rows; anything but 0 is a defect.
  std::vector<std::pair<std::string, std::string>> machine; ///< "cpu", "commit", … of this run.
  std::vector<report_row> rows;
  std::vector<report_bar> bars;
};

/// Takes some ten seconds, most of them for throughput and the longest attention. `machine` is left
/// to the caller.
expected<report> run_report_bench(const report_options&);

std::string report_table(const report&);
std::string report_markdown(const report&);
std::string report_json(const report&);

/// One SVG for each plot of the report, as (file name, text).
std::vector<std::pair<std::string, std::string>> report_plots(const report&);

} // namespace viva::bench
