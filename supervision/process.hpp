#pragma once

// Process: children that are processes, and the guardian who starts, watches and buries them.
//
//   start    posix_spawn, from one thread that lives as long as the guardian: the system ends a
//            ward when the thread that made it ends (PR_SET_PDEATHSIG)
//   ready    its first frame says what the owner expects (build, known answer), in time
//   work     frames both ways (channel.hpp); two clocks read its pulse (pulse.hpp)
//   end      asked to leave, then killed; or dead by itself: seen through its pidfd, reaped at
//            once, judged (death.hpp), told exactly once. Of one that SIGKILL does not end (a call
//            of the kernel's that never returns) its owner is told all the same; it is buried when
//            it ends
//
// Whoever holds a `process` owns it: with the last handle it is killed and buried. Methods are for
// any thread and wait for nothing; events come from the guardian's thread and must be short.

#include "supervision/channel.hpp"
#include "supervision/death.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

namespace viva::supervision {

struct process_options {
  std::vector<std::string> command{}; ///< [0] is the path of the program.
  std::string ready_words{};          ///< What its `ready` must carry, to the letter.
  /// Of a program that calls `ward::nurse` and goes on as `command` would. Once it is up wards come
  /// from it by fork; while there is none they are spawned. Empty: always spawned.
  std::vector<std::string> nursery{};
  milliseconds start_limit{10'000};   ///< From spawn to ready.
  milliseconds heartbeat_limit{5'000};
  milliseconds grace{2'000};          ///< From `leave` to SIGKILL.
  milliseconds kill_limit{4'000};     ///< From SIGKILL to going on without it.
};

struct process_end {
  caf::error reason;
  std::uint64_t mark = 0; ///< pulse_page::mark, as it stood at the end.
};

struct process_events {
  std::function<void()> on_ready{};
  std::function<void(frame&&)> on_frame{};
  std::function<void(const process_end&)> on_end{};
};

class process {
public:
  process(const process&) = delete;
  ~process(); ///< Kills.

  /// From now on, and at once for what has happened already.
  void attach(process_events events);
  void send(frame what);
  /// The work must move at least this often until the next call; 0: none is due.
  void expect_progress(milliseconds limit);
  /// Asks it to go; after the grace it is killed.
  void leave();
  void kill(fault why, std::string words);
  /// 0 until it was started.
  pid_t pid() const noexcept;

private:
  friend class guardian;
  struct life;
  explicit process(std::shared_ptr<life>);
  std::shared_ptr<life> x_life;
};

class guardian {
public:
  /// `meminfo` is where the system tells how much memory it has left.
  explicit guardian(std::string meminfo = "/proc/meminfo");
  guardian(const guardian&) = delete;
  ~guardian(); ///< Kills and buries all, but for those that outlive their `kill_limit`.

  /// Never fails: one that cannot be started ends with `start_failed`.
  std::unique_ptr<process> start(process_options options);

private:
  friend class process;
  friend class standby;
  struct house;
  std::unique_ptr<process> start_later(process_options options, milliseconds delay);
  std::shared_ptr<house> x_house;
};

/// Keeps one process ready for whoever needs one now. For one thread at a time.
class standby {
public:
  /// Without `warm` every `take` starts one.
  standby(std::shared_ptr<guardian> keeper, process_options options, bool warm);

  std::unique_ptr<process> take();
  /// One is ready and was alive when last heard of.
  bool has_spare() const noexcept {
    return x_spare && x_state->load() == spare::ready;
  }

private:
  enum class spare : std::uint8_t { starting, ready, ended };
  std::shared_ptr<guardian> x_keeper;
  process_options x_options;
  bool x_warm;
  std::unique_ptr<process> x_spare;
  std::shared_ptr<std::atomic<spare>> x_state; ///< Of the spare; written by the guardian.
};

} // namespace viva::supervision
