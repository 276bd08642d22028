#pragma once

// Desk: the conductor of a pipeline. It hands units to lanes and puts those of a dead lane back in
// line; it restarts nobody.
//
// A plain object under one lock instead of an actor: a lane that has done its unit takes the next
// one here, without waking a third thread. Lanes are told only while they sleep, by `wake`.

#include "actors/pipeline/unit.hpp"

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace viva::actors {

class desk {
public:
  using wake_function = std::function<void()>;

  /// `lends`: a lane that is down may stay so, and units for it alone go to any other.
  desk(std::size_t lanes, std::uint32_t lives_max, bool lends = false)
      : x_seats(lanes), x_lives_max(lives_max), x_lends(lends) {
  }

  /// Any thread; takes them out of `units`. Where the desk is closed, each fails at once. Where
  /// there is no memory for the line, throws, and leaves those that it did not take.
  void submit(std::span<unit_ptr> units);

  /// By a lane of this life: it has run what it had, and wants more. Fills `next` (empty before)
  /// with one unit, or with up to `light_max` that are light; left empty, the lane is woken later.
  /// True where what it had is still its own to finish.
  bool turn(std::size_t lane, std::uint64_t life, handful& next, std::size_t light_max = 1);
  /// Takes out of line what goes home to that place (`unit::home`) and no lane has; each fails with
  /// `why`. Any thread.
  void withdraw(const void* home, const error& why);
  /// By a lane of this life: one of those it has answered by itself.
  void let_go(std::size_t lane, std::uint64_t life, const unit&);

  /// By start functions: the number of the new life.
  std::uint64_t begin_life(std::size_t lane);
  void lane_up(std::size_t lane, wake_function wake);
  /// What the lane had goes back to the front. Where it had begun and `blame` is right, a life is
  /// counted against it, and it fails after `lives_max` of them, with `how` the last one ended.
  void lane_down(std::size_t lane, bool blame, const std::string& how);
  /// Every lane that is up hears its wake, whatever waits.
  void nudge();
  /// Everything in line fails with `why`, and whatever is submitted later. A unit that a lane has
  /// is finished by it, or fails when the lane is down.
  void close(const error& why);

  struct counts {
    std::uint64_t waiting = 0, running = 0, units = 0, lost = 0, lives = 0;
    std::uint64_t hands = 0;   ///< Turns that gave out any, of light ones several.
    std::uint64_t in_vain = 0; ///< Turns of a woken lane that found nothing left.
    std::uint32_t lanes_up = 0;
  };
  counts count() const;

private:
  using queue = std::deque<unit_ptr>;
  using lines = std::array<queue, 3>; // by urgency
  struct seat {
    std::shared_ptr<wake_function> wake; // null: down
    handful current;
    lines own; // units that wait for this lane alone
    std::uint64_t life = 0;
    bool idle = false;
  };
  using wakes = std::vector<std::shared_ptr<wake_function>>;

  static std::size_t waiting_in(const lines&) noexcept;
  void put(unit_ptr&&, bool first);
  queue* next_line(seat&);
  unit_ptr take_first(queue&);
  wakes room_for_wakes() const;
  void rouse(wakes&);
  void wake_all(const wakes&);

  mutable std::mutex x_guard;
  lines x_line;
  std::vector<seat> x_seats;
  const std::uint32_t x_lives_max;
  const bool x_lends;
  std::uint64_t x_last_life = 0; // of all lanes: no two lives have one number
  error x_closed; // code ok: open
  counts x_counts;
};

} // namespace viva::actors
