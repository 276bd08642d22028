#pragma once

// A job's report for people (text, Markdown) and for programs (JSON).

#include "actors/job.hpp"
#include "cli/gate.hpp"

#include <nlohmann/json_fwd.hpp>

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace viva::cli {

/// What belongs to one finished job besides the report itself.
struct verdict {
  std::string method; ///< As asked; empty where the job has none.
  bool dry_run = false;
  std::span<const gate> gates;
  std::vector<gate_failure> failed;
};

/// Per-tensor table, worst first, then the totals. At most `rows_max` rows (0: all); says how many
/// are not shown.
std::string text_report(const job_report&, const verdict&, std::size_t rows_max);

/// The same, every tensor, as Markdown.
std::string markdown_report(const job_report&, const verdict&);

/// The same as one document. An SQNR without error is infinite and stands as null.
nlohmann::ordered_json json_report(const job_report&, const verdict&);

/// Writes JSON, or Markdown where the name ends in .md. `cannot_write` or `disk_full`.
expected<void> write_report(const std::filesystem::path&, const job_report&, const verdict&);

/// One line for each gate that holds, naming the tensors (at most three, then a count).
std::string gate_text(const verdict&);

} // namespace viva::cli
