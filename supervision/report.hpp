#pragma once

// Reports: what supervisors have to say, typed, bounded, and never waited for.
//
// `post` copies a small struct into a ring and returns; one thread writes them out through spdlog
// (stderr) and to subscribers. A full ring or a burst drops and counts, so that a crash storm
// cannot kill by logging (OTP's logger has the same law: logger_olp.hrl).

#include "supervision/policy.hpp"

#include <caf/error.hpp>

#include <array>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <spdlog/logger.h>

namespace viva::supervision {

enum class report_kind : std::uint8_t {
  supervisor, ///< Something a supervisor had to deal with.
  crash,      ///< A child ended by an exception; the text is in the reason.
  progress,   ///< A child is up.
};

enum class report_context : std::uint8_t {
  started,
  child_terminated, ///< An end that was not asked for.
  start_error,
  shutdown_error,   ///< Asked to stop, ended with another reason.
  abandoned,        ///< Neither shutdown nor kill was obeyed.
  gave_up,          ///< More restarts than the intensity allows; the supervisor ends.
  unknown_message,
};

struct report {
  report_kind kind = report_kind::supervisor;
  report_context context = report_context::started;
  std::chrono::system_clock::time_point when{};
  std::shared_ptr<const std::string> supervisor{};
  std::string child{}; ///< Empty where the report is about the supervisor itself.
  std::uint64_t pid = 0;
  restart_type restart = permanent;
  std::uint64_t restarts = 0;
  caf::error reason{};
};

/// `lanes: child_terminated child=lane-0 pid=17 restart=permanent restarts=2 reason="exception: …"`
/// One line whatever the reason holds; longer than `length_max` is cut and ends in "…".
std::string to_line(const report& what, std::size_t length_max = 1024);

struct reporter_options {
  std::size_t capacity = 1024;          ///< Reports waiting; more are dropped.
  std::size_t burst_max = 500;          ///< Log lines per second; more are dropped from the log.
  std::shared_ptr<spdlog::logger> log;  ///< Unset: a stderr logger of its own.
};

struct report_counts {
  std::uint64_t posted = 0;
  std::uint64_t dropped = 0;     ///< The ring was full.
  std::uint64_t written = 0;     ///< Log lines.
  std::uint64_t suppressed = 0;  ///< Kept from the log by burst_max; subscribers had them.
};

class reporter {
public:
  explicit reporter(reporter_options options = {});
  ~reporter(); // writes out what waits
  reporter(const reporter&) = delete;
  reporter& operator=(const reporter&) = delete;

  /// Never blocks on the log. Any thread.
  void post(report what) noexcept;

  /// Runs on the reporter's thread, one report at a time; must not throw.
  void subscribe(std::function<void(const report&)> listener);

  /// Waits until everything posted before the call is written. For tests and for the end.
  void flush();

  report_counts counts() const;

private:
  void run();
  void write(const report& what, report_counts& counts);
  void tell_kept(); ///< How many of the last second's are not in the log.
  void tell_dropped(const report_counts& counts, std::uint64_t& told);

  reporter_options x_options;
  mutable std::mutex x_guard;
  std::condition_variable x_wake;    // the writer waits here
  std::condition_variable x_drained; // flush waits here
  std::vector<report> x_waiting;
  std::vector<std::function<void(const report&)>> x_listeners;
  report_counts x_counts;
  std::uint64_t x_done = 0; // written, of those that were not dropped
  std::size_t x_hurry = 0; // how many wait in flush
  bool x_asleep = false;   // the writer waits for the first report, not for its rest to end
  bool x_closing = false;
  std::chrono::steady_clock::time_point x_burst_began{};
  std::size_t x_burst = 0;
  std::thread x_writer;
};

} // namespace viva::supervision
