#include "actors/pipeline/desk.hpp"

#include <stdexcept>
#include <utility>

namespace viva::actors {

void lane_floor::die() {
  throw std::runtime_error("killed on purpose");
}

// Under the lock: the sleepers that so many units are worth.
desk::wakes desk::rouse(std::size_t units) {
  wakes result;
  for (auto& each : x_seats) {
    if (result.size() == units)
      break;
    if (each.wake && std::exchange(each.idle, false))
      result.push_back(each.wake);
  }
  return result;
}

unit_ptr desk::take() {
  for (auto& line : x_line)
    if (!line.empty()) {
      auto next = std::move(line.front());
      line.pop_front();
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
        x_line[static_cast<std::size_t>(each->how_urgent)].push_back(each);
      x_counts.waiting += units.size();
      sleepers = rouse(units.size());
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
  at.current = take();
  at.idle = at.current == nullptr;
  result.next = at.current;
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
    sleepers = rouse(x_counts.waiting);
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
      x_line[static_cast<std::size_t>(orphan->how_urgent)].push_front(orphan);
      ++x_counts.waiting;
      sleepers = rouse(1);
      orphan = nullptr;
    }
  }
  if (orphan)
    orphan->fail(why, begun);
  for (const auto& wake : sleepers)
    (*wake)();
}

void desk::close(const error& why) {
  std::vector<unit_ptr> left;
  {
    const std::lock_guard lock{x_guard};
    if (x_closed.code == errc::ok)
      x_closed = why;
    while (auto next = take())
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
