#pragma once

// What quantize and prune share: source, output, which tensors, and the run of the job.

#include "cli/invocation.hpp"

#include <string>
#include <vector>

namespace viva::cli {

struct encode_flags {
  quantize_spec spec;
  std::string source, output, stats;
  std::vector<std::string> faults;
  bool allow_faults = false;
  report_options report;
  node_flags machines;
};

/// SRC, -o, --include, --exclude, --stats, --dry-run, --overwrite; report, progress, settings.
void add_encode_flags(CLI::App&, invocation&, encode_flags&);

/// Runs the job that the flags describe, `spec.method` being settled. Without -o the output is SRC
/// with "-SUFFIX" appended.
expected<exit_code> run_encode(const invocation&, encode_flags, const std::string& suffix,
                               const settings&);

} // namespace viva::cli
