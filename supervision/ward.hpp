#pragma once

// Ward: the other side of a process's life, from inside. `enter` is the first thing its main does.
//
//   auto me = ward::enter();               the guardian gave descriptors 3 and 4, or it refuses
//   me->ready(words);
//   while (auto order = me->next()) …      mark, step, send
//   return 0;                              the goodbye is said by `next`, when it was told to leave
//
// It ends with its guardian, whatever it does: by PR_SET_PDEATHSIG, and by the end of the channel.

#include "supervision/channel.hpp"
#include "supervision/pulse.hpp"

#include <tl/expected.hpp>

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace viva::supervision {

inline constexpr int ward_channel_fd = 3, ward_pulse_fd = 4;

class ward {
public:
  /// The error says that nobody guards this process.
  static tl::expected<std::unique_ptr<ward>, std::string> enter();
  /// Makes this process a nursery: it sleeps, and whenever the guardian needs a ward it is copied.
  /// Returns true in each copy, which goes on with `enter` as a program does that was just started;
  /// what it made before (loaded libraries, tables) the copies have. Before any thread. False where
  /// nobody guards this process.
  static bool nurse();
  ward(const ward&) = delete;
  ~ward();

  void ready(std::string words);
  /// Waits. Nothing once the guardian is gone or wants this process to leave.
  std::optional<frame> next();
  /// False: the guardian is gone, or the system has no memory for the frame. Throws where the
  /// frame is longer than the channel takes.
  bool send(frame what);

  void mark(std::uint64_t what) noexcept;
  /// The work has moved.
  void step() noexcept {
    x_pulse.page().progress.fetch_add(1, std::memory_order_relaxed);
  }
  std::atomic<std::uint64_t>& steps() noexcept {
    return x_pulse.page().progress;
  }

  /// Leaves last words and goes: exit 76 where it got no memory, else 70.
  [[noreturn]] void die(const std::exception_ptr& of) noexcept;
  /// The same with a code of its own, one of exit_words.
  [[noreturn]] void die(int code, const std::string& words) noexcept;
  /// Stops the heart, as if the whole process stood still.
  void hold_breath();

private:
  static bool is_guarded();
  ward(channel link, pulse page);
  void beat();

  channel x_link;
  pulse x_pulse;
  std::mutex x_guard;
  std::condition_variable x_wake;
  bool x_still = false;
  std::thread x_heart;
};

} // namespace viva::supervision
