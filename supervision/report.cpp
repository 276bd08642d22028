#include "supervision/report.hpp"

#include "supervision/reason.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <string_view>
#include <utility>

namespace viva::supervision {
namespace {

// After a batch the writer rests: a storm costs its poster one wake-up per rest, not per report.
constexpr milliseconds rest_between_batches{10};

constexpr std::array<std::string_view, 7> context_names{
  "started", "child_terminated", "start_error", "shutdown_error", "abandoned", "gave_up",
  "unknown_message",
};
constexpr std::array<std::string_view, 3> restart_names{"permanent", "transient", "temporary"};

spdlog::level::level_enum level_of(const report& what) {
  if (what.kind == report_kind::progress)
    return spdlog::level::info;
  return what.context == report_context::unknown_message ? spdlog::level::warn
                                                         : spdlog::level::err;
}

// One line, whatever a reason holds: control characters become escapes.
void append_escaped(std::string& line, std::string_view text) {
  for (const char c : text) {
    if (c == '\n')
      line += "\\n";
    else if (c == '"' || c == '\\')
      (line += '\\') += c;
    else if (static_cast<unsigned char>(c) < 0x20)
      line += '?';
    else
      line += c;
  }
}

} // namespace

std::string to_line(const report& what, std::size_t length_max) {
  std::string line = what.supervisor ? *what.supervisor : std::string{"?"};
  (line += what.kind == report_kind::crash ? ": crash " : ": ")
    += context_names.at(static_cast<std::size_t>(what.context));
  if (!what.child.empty()) {
    line += " child=";
    append_escaped(line, what.child);
    line += " pid=" + std::to_string(what.pid) + " restart=";
    line += restart_names.at(static_cast<std::size_t>(what.restart));
    line += " restarts=" + std::to_string(what.restarts);
  }
  if (what.kind != report_kind::progress) {
    line += " reason=\"";
    append_escaped(line, to_text(what.reason));
    line += '"';
  }
  if (line.size() > length_max) {
    auto cut = length_max < 3 ? 0 : length_max - 3; // room for the three bytes of the ellipsis
    while (cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xC0) == 0x80)
      --cut; // not inside a UTF-8 character
    line.resize(cut);
    line += "…";
  }
  return line;
}

reporter::reporter(reporter_options options) : x_options(std::move(options)) {
  if (!x_options.log) {
    x_options.log = std::make_shared<spdlog::logger>(
      "supervision", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    x_options.log->set_level(spdlog::level::warn); // progress is for those who ask
  }
  x_waiting.reserve(std::min<std::size_t>(x_options.capacity, 1024));
  x_writer = std::thread{[this] { run(); }};
}

reporter::~reporter() {
  {
    std::lock_guard lock{x_guard};
    x_closing = true;
  }
  x_wake.notify_all();
  x_writer.join();
}

void reporter::post(report what) noexcept {
  what.when = std::chrono::system_clock::now();
  bool wake = false;
  {
    std::lock_guard lock{x_guard};
    ++x_counts.posted;
    // The one that says how a storm ended finds room behind all that came of it.
    const auto room = what.context == report_context::gave_up ? 2 * x_options.capacity
                                                              : x_options.capacity;
    if (x_waiting.size() >= room) {
      ++x_counts.dropped;
      return;
    }
    wake = x_waiting.empty() && x_asleep;
    x_waiting.push_back(std::move(what)); // out of memory ends the program: noexcept on purpose
  }
  if (wake)
    x_wake.notify_one();
}

void reporter::subscribe(std::function<void(const report&)> listener) {
  std::lock_guard lock{x_guard};
  x_listeners.push_back(std::move(listener));
}

void reporter::flush() {
  std::unique_lock lock{x_guard};
  const auto target = x_counts.posted - x_counts.dropped; // all that waits, and nothing later
  ++x_hurry;
  x_wake.notify_all();
  x_drained.wait(lock, [&] { return x_done >= target; });
  --x_hurry;
}

report_counts reporter::counts() const {
  std::lock_guard lock{x_guard};
  return x_counts;
}

void reporter::tell_kept() {
  const auto all = std::exchange(x_burst, 0);
  if (all > x_options.burst_max)
    x_options.log->warn("{} reports kept from the log within one second",
                        all - x_options.burst_max);
}

void reporter::tell_dropped(const report_counts& counts, std::uint64_t& told) {
  const auto dropped = counts.dropped - std::exchange(told, counts.dropped);
  if (dropped > 0)
    x_options.log->warn("{} reports dropped: who reads the log is too slow", dropped);
}

void reporter::write(const report& what, report_counts& counts) {
  const auto level = level_of(what);
  if (!x_options.log->should_log(level))
    return;
  const auto now = std::chrono::steady_clock::now();
  if (now - x_burst_began >= std::chrono::seconds{1}) {
    tell_kept();
    x_burst_began = now;
  }
  if (what.context != report_context::gave_up && ++x_burst > x_options.burst_max) {
    ++counts.suppressed;
    return;
  }
  ++counts.written;
  // When it was, not when the writer came to it.
  x_options.log->log(what.when, spdlog::source_loc{}, level, to_line(what));
}

void reporter::run() {
  std::vector<report> batch;
  std::uint64_t dropped_told = 0;
  std::unique_lock lock{x_guard};
  for (;;) {
    if (x_waiting.empty()) {
      if (x_closing)
        break;
      x_asleep = true;
      x_wake.wait(lock, [this] { return !x_waiting.empty() || x_closing; });
      x_asleep = false;
    }
    batch.swap(x_waiting);
    const auto listeners = x_listeners;
    const auto counts = x_counts;
    lock.unlock();
    tell_dropped(counts, dropped_told);
    report_counts written;
    for (const auto& what : batch) {
      write(what, written);
      for (const auto& listener : listeners)
        listener(what);
    }
    const auto batch_size = batch.size();
    batch.clear();
    lock.lock();
    x_counts.written += written.written;
    x_counts.suppressed += written.suppressed;
    x_done += batch_size;
    x_drained.notify_all();
    if (!x_closing && x_hurry == 0)
      x_wake.wait_for(lock, rest_between_batches, [this] { return x_closing || x_hurry > 0; });
  }
  tell_kept();
  tell_dropped(x_counts, dropped_told);
}

} // namespace viva::supervision
