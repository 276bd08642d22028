#pragma once

// House: what a guardian keeps. Everything here belongs to its one thread; handles post to it.

#include "supervision/process.hpp"
#include "supervision/pulse.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <utility>

namespace viva::supervision {

struct guardian::house {
  boost::asio::io_context io{1};
  std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> open{
    io.get_executor()};
  boost::asio::steady_timer clock{io};
  std::set<std::shared_ptr<process::life>> lives; // from spawn to burial
  std::map<std::vector<std::string>, std::shared_ptr<process::life>> nurseries; // by command
  time_point last_tick{};
  time_point oom_counted{};
  std::uint64_t oom_kills_before = 0, oom_kills_lately = 0; // one and two looks ago
  std::string meminfo{};
  bool memory_is_low = false;    // at the last tick
  bool lost_status_told = false;
  bool ticking = false, closing = false;
  std::atomic<bool> shut{false}; // nobody runs what is posted any more
  std::thread thread;

  template <class Work>
  void run(Work&& what) {
    if (!shut.load())
      boost::asio::post(io, std::forward<Work>(what));
  }

  void tick();
  void count_oom_kills(time_point at);
  void close();
  void bury(const std::shared_ptr<process::life>& who);
  void tell_lost_status(pid_t whose);
  bool has_unknown_child(pid_t who) const; // nursery.cpp
};

struct process::life : std::enable_shared_from_this<process::life> {
  using stream = boost::asio::posix::stream_descriptor;
  /// What a ward begins with.
  struct gifts {
    std::shared_ptr<const descriptor> talk, page;
  };
  enum class phase : std::uint8_t { starting, ready, ended };

  life(std::shared_ptr<guardian::house> where, process_options how)
    : home(std::move(where)), options(std::move(how)), talk(home->io), grave(home->io),
      delay(home->io) {
  }

  std::shared_ptr<guardian::house> home;
  process_options options;
  process_events events{};
  channel link{};
  std::optional<pulse> heart{};
  std::optional<pulse> unanswered{}; ///< Of a nursery: the page that it took without an answer.
  stream talk;  // readiness of link's socket, which link owns
  stream grave; // the pidfd
  boost::asio::steady_timer delay;
  std::deque<frame> outbox{};
  std::atomic<pid_t> pid{0};
  phase now = phase::starting;
  bool deaf = false;  // it spoke nonsense, or its end is closed
  bool writing = false;
  last_known known{};
  process_end ending{};
  std::uint64_t beats_seen = 0, progress_seen = 0;
  time_point started{}, last_beat{}, last_step{}, leave_until{}, killed_at{};
  milliseconds progress_limit{0};

  void start();
  caf::error spawn();
  caf::error prepare(std::optional<std::pair<channel, channel>>& ends, gifts& given);
  /// nursery.cpp: forked from a nursery; 0 where there is none, -1 where one took the gifts and did
  /// not answer, so that they may not be given again.
  pid_t born(const gifts& with);
  pid_t bear(const gifts& with); ///< Of a nursery: as `born`.
  void end_newborn();            ///< Of a nursery that is dead: of whom it did not tell.
  caf::error hold(pid_t made);   ///< It is this one from now on.
  void hear();           // waits for frames
  void listen();         // takes all that are there
  void take(frame&& what);
  void speak();          // sends what it can of the outbox
  void watch_for_end();
  void reap();
  void tell_end(std::optional<exit_status> how); ///< Nothing where somebody else took it.
  void give_up();
  void part(); ///< From its channel and its page.
  void finish(process_end how);
  bool ended() const {
    return now == phase::ended;
  }
  void kill(fault why, std::string words);
  void check(time_point at);
  void forgive(time_point at);
};

} // namespace viva::supervision
