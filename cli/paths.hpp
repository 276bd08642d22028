#pragma once

// Paths of the command line: what a job reads and writes, and where its report may lie.

#include "kernels/error.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace viva::cli {

/// Files and folders of one job.
struct job_paths {
  std::vector<std::filesystem::path> reads;
  std::filesystem::path writes; ///< Empty where the job writes nothing.
};

/// An output as it was asked for, without '/' at its end. Refuses what can be no name: `bad_option`
/// where it is empty, `cannot_write` where the system says so.
expected<std::filesystem::path> output_path(std::string text);

/// Refuses early, before any work, a report that could not be written, and one that would take the
/// place of a file of the source, of the output or of what an unfinished job left beside it.
expected<void> check_report_path(const std::filesystem::path& report, const job_paths&);

} // namespace viva::cli
