#include "cli/progress.hpp"

#include "cli/bytes.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <utility>

#include <sys/ioctl.h>
#include <unistd.h>

namespace viva::cli {

namespace {

constexpr std::size_t bar_cells = 24;

double share_of(const progress& now) {
  return now.bytes_total == 0 ? 0.0
                              : std::min(1.0, static_cast<double>(now.bytes_done)
                                                  / static_cast<double>(now.bytes_total));
}

double rate_of(const progress& now) {
  return now.seconds > 0 ? static_cast<double>(now.bytes_done) / now.seconds : 0.0;
}

std::size_t terminal_columns() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/// One write, so that lines of the log cannot cut it in two.
void put(const std::string& text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const auto sent = ::write(STDERR_FILENO, text.data() + done, text.size() - done);
    if (sent <= 0)
      return; // nobody watches any more; the job goes on
    done += static_cast<std::size_t>(sent);
  }
}

} // namespace

progress_style choose_style(bool json_lines, bool silent) {
  if (silent)
    return progress_style::none;
  if (json_lines)
    return progress_style::lines;
  return ::isatty(STDERR_FILENO) == 1 ? progress_style::bar : progress_style::none;
}

std::string bar_line(const std::string& job, const progress& now, std::size_t columns) {
  const double share = share_of(now);
  const double rate = rate_of(now);
  const auto filled = static_cast<std::size_t>(share * bar_cells);
  std::string line =
      fmt::format("{} [{}{}] {:3.0f} %  {} of {}  {:.2f} GB/s", job, std::string(filled, '#'),
                  std::string(bar_cells - filled, ' '), 100 * share, format_bytes(now.bytes_done),
                  format_bytes(now.bytes_total), rate / 1e9);
  if (rate > 0 && now.bytes_done < now.bytes_total)
    line += fmt::format(
        "  ETA {}", format_seconds(static_cast<double>(now.bytes_total - now.bytes_done) / rate));
  if (now.restarts > 0)
    line += fmt::format("  {} restart{}", now.restarts, now.restarts == 1 ? "" : "s");
  if (line.size() > columns)
    line.resize(columns);
  return line;
}

std::string json_line(const std::string& job, const progress& now) {
  const nlohmann::ordered_json line = {
      {"job", job},
      {"bytes_done", now.bytes_done},
      {"bytes_total", now.bytes_total},
      {"shards_done", now.shards_done},
      {"shards_total", now.shards_total},
      {"restarts", now.restarts},
      {"seconds", now.seconds},
  };
  return line.dump();
}

progress_view::progress_view(std::string job, progress_style style)
    : x_job(std::move(job)), x_style(style) {}

progress_view::~progress_view() {
  if (x_drawn)
    put("\r\033[K");
}

void progress_view::show(const progress& now) {
  if (x_style == progress_style::lines)
    put(json_line(x_job, now) + "\n");
  if (x_style != progress_style::bar)
    return;
  put("\r\033[K" + bar_line(x_job, now, terminal_columns() - 1));
  x_drawn = true;
}

std::function<void(const progress&)> progress_view::callback() {
  return [this](const progress& now) { show(now); };
}

} // namespace viva::cli
