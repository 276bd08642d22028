#include "actors/pipeline/desk.hpp"

#include <stdexcept>
#include <utility>

namespace viva::actors {

void lane_floor::die() {
  throw std::runtime_error("killed on purpose");
}

// Under the lock, as all that follow.
void desk::put(const unit_ptr& what, bool first) {
  auto& line = what->only_lane == unit::any_lane
                 ? x_line[static_cast<std::size_t>(what->how_urgent)]
                 : x_seats[what->only_lane].own;
  first ? line.push_front(what) : line.push_back(what);
  ++x_counts.waiting;
}

/// The sleepers that what waits is worth.
desk::wakes desk::rouse() {
  std::size_t any = 0;
  for (const auto& line : x_line)
    any += line.size();
  wakes result;
  for (auto& each : x_seats) {
    if (!each.wake || !each.idle || (each.own.empty() && any == 0))
      continue;
    any -= each.own.empty() ? 1 : 0;
    each.idle = false;
    result.push_back(each.wake);
  }
  return result;
}

/// What only this lane can do goes first.
unit_ptr desk::take(seat& at) {
  for (auto* line : {&at.own, &x_line[0], &x_line[1], &x_line[2]})
    if (!line->empty()) {
      auto next = std::move(line->front());
      line->pop_front();
      --x_counts.waiting;
      return next;
    }
  return nullptr;
}

void desk::submit(std::span<const unit_ptr> units) {
  wakes sleepers;
  error closed;
  {
    const std::lock_guard lock{x_guard};
    closed = x_closed;
    if (closed.code == errc::ok) {
      for (const auto& each : units)
        put(each, false);
      sleepers = rouse();
    }
  }
  if (closed.code != errc::ok)
    for (const auto& each : units)
      each->fail(closed, false);
  for (const auto& wake : sleepers)
    (*wake)();
}

desk::hand desk::turn(std::size_t lane, std::uint64_t life) {
  const std::lock_guard lock{x_guard};
  auto& at = x_seats[lane];
  if (at.life != life)
    return {}; // given up for dead: another life has its unit
  hand result;
  result.mine = at.current != nullptr;
  x_counts.units += result.mine ? 1 : 0;
  at.current = take(at);
  at.idle = at.current == nullptr;
  result.next = at.current;
  x_counts.in_vain += !result.mine && !result.next ? 1 : 0;
  return result;
}

std::uint64_t desk::begin_life(std::size_t lane) {
  const std::lock_guard lock{x_guard};
  ++x_counts.lives;
  return ++x_seats[lane].life;
}

void desk::lane_up(std::size_t lane, wake_function wake) {
  auto handle = std::make_shared<wake_function>(std::move(wake));
  wakes sleepers;
  {
    const std::lock_guard lock{x_guard};
    x_seats[lane].wake = std::move(handle);
    x_seats[lane].idle = true;
    ++x_counts.lanes_up;
    sleepers = rouse();
  }
  for (const auto& each : sleepers)
    (*each)();
}

void desk::lane_down(std::size_t lane, bool blame) {
  unit_ptr orphan;
  wakes sleepers;
  error why;
  bool begun = false;
  std::shared_ptr<wake_function> handle; // ends outside the lock: it may be the lane's last
  {
    const std::lock_guard lock{x_guard};
    auto& at = x_seats[lane];
    handle = std::exchange(at.wake, nullptr);
    orphan = std::exchange(at.current, nullptr);
    at.idle = false;
    ++at.life; // whatever the old one still says is stale
    x_counts.lanes_up -= handle ? 1 : 0;
    if (!orphan)
      return;
    ++x_counts.lost;
    begun = orphan->begun.exchange(false);
    why = x_closed;
    if (why.code == errc::ok && begun && blame && ++orphan->runs_lost >= x_lives_max)
      why = {errc::job_failed, "killed " + std::to_string(x_lives_max)
                                 + " lanes that ran it; it is not run again"};
    if (why.code == errc::ok) {
      if (begun)
        orphan->lose(); // before anybody else can begin it
      put(orphan, true);
      sleepers = rouse();
      orphan = nullptr;
    }
  }
  if (orphan)
    orphan->fail(why, begun);
  for (const auto& wake : sleepers)
    (*wake)();
}

void desk::nudge() {
  wakes all;
  {
    const std::lock_guard lock{x_guard};
    for (const auto& each : x_seats)
      if (each.wake)
        all.push_back(each.wake);
  }
  for (const auto& wake : all)
    (*wake)();
}

void desk::close(const error& why) {
  std::vector<unit_ptr> left;
  {
    const std::lock_guard lock{x_guard};
    if (x_closed.code == errc::ok)
      x_closed = why;
    for (auto& each : x_seats)
      while (auto next = take(each))
        left.push_back(std::move(next));
  }
  for (const auto& each : left)
    each->fail(why, false);
}

desk::counts desk::count() const {
  const std::lock_guard lock{x_guard};
  auto result = x_counts;
  for (const auto& each : x_seats)
    result.running += each.current ? 1 : 0;
  return result;
}

} // namespace viva::actors
