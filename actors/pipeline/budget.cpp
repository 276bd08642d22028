#include "actors/pipeline/budget.hpp"

#include <algorithm>
#include <condition_variable>
#include <string>

namespace viva::actors {

expected<void> budget::check(amount what) const {
  if (what.bytes > x_all.bytes || what.tickets > x_all.tickets)
    return fail(errc::over_budget, "this work needs " + std::to_string(what.bytes)
                                       + " bytes and the whole budget has "
                                       + std::to_string(x_all.bytes)
                                       + "; raise pipeline_options::budget_bytes");
  if (x_closed.code != errc::ok)
    return tl::unexpected(x_closed);
  return {};
}

expected<budget::lease> budget::admit(amount what, on_full mode, deadline until) {
  std::unique_lock lock{x_guard};
  if (auto fine = check(what); !fine)
    return tl::unexpected(fine.error());
  if (x_waiting.empty() && fits(what)) {
    x_used.bytes += what.bytes;
    x_used.tickets += what.tickets;
    return lease{shared_from_this(), what};
  }
  if (mode == on_full::refuse)
    return fail(errc::over_budget, std::to_string(x_used.bytes) + " of "
                                       + std::to_string(x_all.bytes) + " bytes and "
                                       + std::to_string(x_used.tickets) + " of "
                                       + std::to_string(x_all.tickets)
                                       + " tickets are under way; try later");
  std::condition_variable come;
  std::optional<expected<lease>> mine;
  const auto id = ++x_last_id;
  x_waiting.push_back({id, what, [&](expected<lease> given) {
                         const std::lock_guard inner{x_guard};
                         mine = std::move(given);
                         come.notify_one(); // under the lock: the waiter owns `come`
                       }});
  const auto told = [&] { return mine.has_value(); };
  if (until == no_deadline)
    come.wait(lock, told);
  else if (!come.wait_until(lock, until, told)) {
    if (std::erase_if(x_waiting, [id](const waiter& w) { return w.id == id; }) != 0) {
      admit_waiting(lock); // those behind may fit where this one did not
      return fail(errc::timed_out, "the deadline passed before the budget had room");
    }
    come.wait(lock, told); // taken off the line already: the lease is on its way
  }
  return std::move(*mine);
}

expected<std::uint64_t> budget::park(amount what, admission go) {
  std::unique_lock lock{x_guard};
  if (auto fine = check(what); !fine)
    return tl::unexpected(fine.error());
  if (x_waiting.size() >= x_parked_max)
    return fail(errc::over_budget, std::to_string(x_parked_max)
                                       + " submissions wait already; await some of them first");
  const auto number = ++x_last_id;
  x_waiting.push_back({number, what, std::move(go)});
  admit_waiting(lock);
  return number;
}

void budget::leave(std::uint64_t number) {
  admission gone; // ends outside the lock: it holds its work
  std::unique_lock lock{x_guard};
  const auto found = std::ranges::lower_bound(x_waiting, number, {}, &waiter::id);
  if (found == x_waiting.end() || found->id != number)
    return;
  gone = std::move(found->go);
  x_waiting.erase(found);
  admit_waiting(lock); // those behind may fit where this one did not
  lock.unlock();
}

// In order of arrival; each is told outside the lock. Whoever is told may give its lease back at
// once: that only makes room, and the loop that told it goes on, however many wait.
void budget::admit_waiting(std::unique_lock<std::mutex>& lock) {
  if (x_admitting)
    return;
  x_admitting = true;
  while (!x_waiting.empty() && fits(x_waiting.front().what)) {
    auto next = std::move(x_waiting.front());
    x_waiting.pop_front();
    x_used.bytes += next.what.bytes;
    x_used.tickets += next.what.tickets;
    lock.unlock();
    try {
      next.go(lease{shared_from_this(), next.what});
      next.go = nullptr; // may own its lease by now, whose end wants the lock
    } catch (...) {
      next.go = nullptr;
      lock.lock();
      x_admitting = false;
      throw;
    }
    lock.lock();
  }
  x_admitting = false;
}

void budget::give_back(amount what) noexcept {
  std::unique_lock lock{x_guard};
  x_used.bytes -= what.bytes;
  x_used.tickets -= what.tickets;
  admit_waiting(lock);
}

void budget::close(const error& why) {
  std::deque<waiter> left;
  error reason;
  {
    const std::lock_guard lock{x_guard};
    if (x_closed.code == errc::ok)
      x_closed = why;
    left = std::move(x_waiting);
    x_waiting.clear();
    reason = x_closed;
  }
  for (auto& each : left)
    each.go(tl::unexpected(reason));
}

budget::amount budget::used() const {
  const std::lock_guard lock{x_guard};
  return x_used;
}

std::size_t budget::waiting() const {
  const std::lock_guard lock{x_guard};
  return x_waiting.size();
}

} // namespace viva::actors
