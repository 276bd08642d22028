#include "actors/pipeline/desk.hpp"

#include <ranges>
#include <stdexcept>
#include <utility>

namespace viva::actors {

void lane_floor::die() {
  throw std::runtime_error("killed on purpose");
}

void finish_all(std::span<const unit_ptr> units) noexcept {
  for (const auto& each : units)
    if (each)
      each->begun.store(false, std::memory_order_relaxed);
  while (!units.empty())
    units = units.subspan(units.front() ? units.front()->finish_first_of(units) : 1);
}

// Under the lock, as all that follow.
void desk::put(unit_ptr&& what, bool first) {
  auto& to = what->only_lane == unit::any_lane || (x_lends && !x_seats[what->only_lane].wake)
                 ? x_line[static_cast<std::size_t>(what->how_urgent)]
                 : x_seats[what->only_lane].own;
  first ? to.push_front(std::move(what)) : to.push_back(std::move(what));
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

/// Where the next unit is; what only this lane can do goes first. Null: nowhere.
desk::queue* desk::next_line(seat& at) {
  for (auto* each : {&at.own, &x_line[0], &x_line[1], &x_line[2]})
    if (!each->empty())
      return each;
  return nullptr;
}

unit_ptr desk::take_first(queue& from) {
  auto next = std::move(from.front());
  from.pop_front();
  --x_counts.waiting;
  return next;
}

void desk::submit(std::span<unit_ptr> units) {
  wakes sleepers;
  error closed;
  {
    const std::lock_guard lock{x_guard};
    closed = x_closed;
    if (closed.code == errc::ok) {
      for (auto& each : units)
        put(std::move(each), false);
      sleepers = rouse();
    }
  }
  if (closed.code != errc::ok)
    for (auto& each : units)
      std::exchange(each, nullptr)->fail(closed, false);
  for (const auto& wake : sleepers)
    (*wake)();
}

bool desk::turn(std::size_t lane, std::uint64_t life, handful& next, std::size_t light_max) {
  const std::lock_guard lock{x_guard};
  auto& at = x_seats[lane];
  if (at.life != life)
    return false; // given up for dead: another life has its units
  const bool mine = !at.current.empty();
  x_counts.units += at.current.size();
  if (auto* const from = next_line(at)) {
    next.push_back(take_first(*from));
    while (next.front()->light && next.size() < light_max && !from->empty()
           && from->front()->light)
      next.push_back(take_first(*from));
  }
  at.current = next;
  at.idle = next.empty();
  x_counts.hands += next.empty() ? 0 : 1;
  x_counts.in_vain += !mine && next.empty() ? 1 : 0;
  return mine;
}

void desk::let_go(std::size_t lane, std::uint64_t life, const unit& gone) {
  const std::lock_guard lock{x_guard};
  auto& at = x_seats[lane];
  if (at.life == life)
    x_counts.units += std::erase_if(at.current, [&](const auto& u) { return u.get() == &gone; });
}

std::uint64_t desk::begin_life(std::size_t lane) {
  const std::lock_guard lock{x_guard};
  ++x_counts.lives;
  return x_seats[lane].life = ++x_last_life;
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

void desk::lane_down(std::size_t lane, bool blame, const std::string& how) {
  handful orphans;
  wakes sleepers;
  struct ended {
    unit_ptr what;
    error why;
    bool begun;
  };
  std::vector<ended> over;
  std::shared_ptr<wake_function> handle; // ends outside the lock: it may be the lane's last
  {
    const std::lock_guard lock{x_guard};
    auto& at = x_seats[lane];
    handle = std::exchange(at.wake, nullptr);
    orphans = std::exchange(at.current, {});
    at.idle = false;
    at.life = ++x_last_life; // whatever the old one still says is stale
    x_counts.lanes_up -= handle ? 1 : 0;
    for (auto& orphan : orphans | std::views::reverse) {
      ++x_counts.lost;
      const bool begun = orphan->begun.exchange(false);
      const bool died_of_it = orphan->at_work.exchange(false) && blame;
      auto why = x_closed;
      if (why.code == errc::ok && died_of_it && ++orphan->runs_lost >= x_lives_max)
        why = {errc::job_failed, "ended " + std::to_string(x_lives_max)
                                   + " lanes that ran it and is not run again; the last: " + how};
      if (why.code != errc::ok) {
        over.push_back({std::move(orphan), std::move(why), begun});
        continue;
      }
      if (begun)
        orphan->lose(); // before anybody else can begin it
      put(std::move(orphan), true);
    }
    if (x_lends)
      for (auto& each : std::exchange(at.own, {})) {
        --x_counts.waiting;
        put(std::move(each), false);
      }
    sleepers = rouse();
  }
  for (const auto& each : over)
    each.what->fail(each.why, each.begun);
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
  handful left;
  {
    const std::lock_guard lock{x_guard};
    if (x_closed.code == errc::ok)
      x_closed = why;
    for (auto& each : x_seats)
      while (auto* const from = next_line(each))
        left.push_back(take_first(*from));
  }
  for (const auto& each : left)
    each->fail(why, false);
}

desk::counts desk::count() const {
  const std::lock_guard lock{x_guard};
  auto result = x_counts;
  for (const auto& each : x_seats)
    result.running += each.current.size();
  return result;
}

} // namespace viva::actors
