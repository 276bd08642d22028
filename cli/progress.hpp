#pragma once

// How a job goes, on standard error: one line redrawn on a terminal, JSON lines where asked.

#include "actors/job.hpp"

#include <functional>
#include <string>

namespace viva::cli {

enum class progress_style : std::uint8_t { none, bar, lines };

/// A bar on a terminal, otherwise nothing, unless --json-progress or --no-progress said so.
progress_style choose_style(bool json_lines, bool silent);

/// "quantize  [#####     ]  42 %  0.42/1.00 GiB  1.31 GB/s  ETA 0:12  2 restarts", at most
/// `columns` wide.
std::string bar_line(const std::string& job, const progress& now, std::size_t columns);

/// {"job":…,"bytes_done":…,…} on one line, without the line's end.
std::string json_line(const std::string& job, const progress& now);

/// Shows progress while it lives and leaves the line clean when it ends.
class progress_view {
public:
  progress_view(std::string job, progress_style style);
  ~progress_view();
  progress_view(const progress_view&) = delete;
  progress_view& operator=(const progress_view&) = delete;

  void show(const progress& now);
  /// For a job_observer or any other caller; valid while this lives.
  std::function<void(const progress&)> callback();

private:
  std::string x_job;
  progress_style x_style;
  bool x_drawn = false;
};

} // namespace viva::cli
