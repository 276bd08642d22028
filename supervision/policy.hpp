#pragma once

// Policy: who stops, who starts, how long to wait, when to give up.
//
// Erlang/OTP's supervisor as functions of values, without an actor, a thread or a clock: every
// function takes `now` and answers at once. The shell (supervisor_actor.cpp) asks and obeys.
//
//   restart type   normal        shutdown      abnormal
//   permanent      restart       restart       restart
//   transient      keep spec     keep spec     restart
//   temporary      drop spec     drop spec     drop spec
//
// Source of the rules: stdlib-4.2 `supervisor.erl` and its suite (README lists what differs).

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace viva::supervision {

using time_point = std::chrono::steady_clock::time_point;
using milliseconds = std::chrono::milliseconds;

enum class restart_type : std::uint8_t { permanent, transient, temporary };
enum class child_type : std::uint8_t { worker, supervisor };
enum class strategy : std::uint8_t { one_for_one, one_for_all, rest_for_one, simple_one_for_one };
enum class auto_shutdown : std::uint8_t { never, any_significant, all_significant };
enum class ending : std::uint8_t { normal, shutdown, abnormal };
using enum restart_type;

/// What becomes of a child that ended by itself.
enum class verdict : std::uint8_t { restart, keep_spec, drop_spec };

constexpr verdict judge(restart_type type, ending how) noexcept {
  if (type == temporary)
    return verdict::drop_spec;
  return type == permanent || how == ending::abnormal ? verdict::restart : verdict::keep_spec;
}

/// Who shares the fate of a child that is restarted, besides itself.
enum class reach : std::uint8_t { itself, itself_and_later, everyone };

constexpr reach reach_of(strategy s) noexcept {
  switch (s) {
    case strategy::one_for_all:
      return reach::everyone;
    case strategy::rest_for_one:
      return reach::itself_and_later;
    default:
      return reach::itself;
  }
}

/// True where a group restart starts this sibling again. `wanted` is false for a child that ended
/// as its restart type allows or that an operator stopped; OTP revives those (`revive`), we do not.
constexpr bool rejoins(restart_type type, bool wanted, bool revive) noexcept {
  return type != temporary && (wanted || revive);
}

/// True where the end of a child (or its removal by that end) stops the whole supervisor.
/// `significant_left` counts the significant children still alive or being restarted.
constexpr bool ends_supervisor(auto_shutdown mode, bool significant,
                               std::size_t significant_left) noexcept {
  if (!significant || mode == auto_shutdown::never)
    return false;
  return mode == auto_shutdown::any_significant || significant_left == 0;
}

/// Remembers the last `intensity` restarts; one more than that within `period` is too many.
/// A ring of fixed size: O(1) per restart, whatever the intensity. `whole_seconds` counts as OTP
/// does, in whole seconds and inclusive, so a restart weighs for up to one second longer.
class restart_window {
public:
  restart_window() = default;
  restart_window(std::uint32_t intensity, milliseconds period, bool whole_seconds = false);

  /// Notes a restart. False: there were too many, the supervisor gives up.
  bool admit(time_point now);

private:
  milliseconds x_period{5'000};
  bool x_whole_seconds = false;
  std::vector<time_point> x_ring; // the last `intensity` restarts, x_next is the oldest
  std::size_t x_next = 0;
  std::size_t x_count = 0;
  std::uint32_t x_intensity = 1;
};

/// The first restart is immediate; the k-th after it waits rand(0, min(cap, base * 2^(k-1))) ("full
/// jitter": Brooker, "Exponential Backoff And Jitter", 2015). A child that stayed up for `healthy`
/// starts over. `base` 0 turns delays off, as in OTP.
struct backoff_options {
  milliseconds base{50};
  milliseconds cap{10'000};
  milliseconds healthy{60'000};
};

class backoff {
public:
  /// A child that was up since `up_since` ended, or an attempt to start it failed.
  milliseconds next(const backoff_options& options, time_point up_since, time_point now,
                    std::minstd_rand& random);

private:
  std::uint32_t x_failures = 0;
};

/// Starts per second over all who share it; a storm queues up instead of forking as one.
class start_bucket {
public:
  start_bucket(std::uint32_t starts_per_s, std::uint32_t burst);

  /// Takes one token and answers how long its owner must wait for it (0: now).
  milliseconds take(time_point now);

private:
  std::chrono::nanoseconds x_interval;
  std::chrono::nanoseconds x_slack; // burst * interval
  time_point x_due{};               // when the next token would be exactly on time
};

} // namespace viva::supervision
