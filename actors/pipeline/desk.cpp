#include "actors/pipeline/desk.hpp"

#include <algorithm>
#include <exception>
#include <iterator>
#include <new>
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

std::size_t desk::waiting_in(const lines& all) noexcept {
  return all[0].size() + all[1].size() + all[2].size();
}

// Under the lock, as all that follow.
void desk::put(unit_ptr&& what, bool first) {
  const bool anywhere =
    what->only_lane == unit::any_lane || (x_lends && !x_seats[what->only_lane].wake);
  auto& to = (anywhere ? x_line
                       : x_seats[what->only_lane].own)[static_cast<std::size_t>(what->how_urgent)];
  first ? to.push_front(std::move(what)) : to.push_back(std::move(what));
  ++x_counts.waiting;
}

/// The sleepers that what waits is worth; none is taken for awake whom nobody will wake.
void desk::rouse(wakes& sleepers) {
  auto any = waiting_in(x_line);
  for (auto& each : x_seats) {
    const bool own = each.idle && waiting_in(each.own) != 0;
    if (!each.wake || !each.idle || (!own && any == 0))
      continue;
    any -= own ? 0 : 1;
    each.idle = false;
    sleepers.push_back(each.wake);
  }
}

/// Taken before anything is changed: a lane that is noted as awake has to be woken.
desk::wakes desk::room_for_wakes() const {
  wakes room;
  room.reserve(static_cast<std::size_t>(
    std::ranges::count_if(x_seats, [](const seat& each) { return each.wake && each.idle; })));
  return room;
}

/// One that cannot be woken, for want of memory, sleeps on, and is woken by whatever comes next.
void desk::wake_all(const wakes& sleepers) {
  std::exception_ptr failed;
  for (const auto& wake : sleepers)
    try {
      (*wake)();
    } catch (...) {
      failed = std::current_exception();
      const std::lock_guard lock{x_guard};
      for (auto& each : x_seats)
        each.idle |= each.wake == wake;
    }
  if (failed)
    std::rethrow_exception(failed);
}

/// Where the next unit is: the most urgent, and of those what only this lane can do. Null: nowhere.
desk::queue* desk::next_line(seat& at) {
  for (std::size_t u = 0; u < x_line.size(); ++u)
    for (auto* each : {&at.own[u], &x_line[u]})
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
  std::exception_ptr no_room;
  {
    const std::lock_guard lock{x_guard};
    closed = x_closed;
    if (closed.code == errc::ok) {
      sleepers = room_for_wakes();
      try {
        for (auto& each : units)
          put(std::move(each), false);
      } catch (const std::bad_alloc&) {
        no_room = std::current_exception(); // those before it are in line, for whoever sleeps
      }
      rouse(sleepers);
    }
  }
  if (closed.code != errc::ok)
    for (auto& each : units)
      std::exchange(each, nullptr)->fail(closed, false);
  wake_all(sleepers);
  if (no_room)
    std::rethrow_exception(no_room);
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
    sleepers = room_for_wakes();
    rouse(sleepers);
  }
  wake_all(sleepers);
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
    sleepers = room_for_wakes();
    over.reserve(at.current.size());
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
      for (auto& line : at.own)
        for (auto& each : std::exchange(line, {})) {
          --x_counts.waiting;
          put(std::move(each), false);
        }
    rouse(sleepers);
  }
  for (const auto& each : over)
    each.what->fail(each.why, each.begun);
  wake_all(sleepers);
}

void desk::withdraw(const void* home, const error& why) {
  handful gone;
  {
    const std::lock_guard lock{x_guard};
    const auto leaves = [home](const unit_ptr& each) { return each->home() == home; };
    std::size_t count = 0;
    const auto each_line = [this](auto&& what) {
      for (auto& line : x_line)
        what(line);
      for (auto& at : x_seats)
        for (auto& line : at.own)
          what(line);
    };
    each_line([&](queue& line) { count += std::ranges::count_if(line, leaves); });
    gone.reserve(count);
    each_line([&](queue& line) {
      std::ranges::copy_if(line, std::back_inserter(gone), leaves);
      std::erase_if(line, leaves);
    });
    x_counts.waiting -= count;
  }
  for (const auto& each : gone)
    each->fail(why, false);
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
