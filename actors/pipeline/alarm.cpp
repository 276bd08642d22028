#include "actors/pipeline/alarm.hpp"

#include <utility>

namespace viva::actors {

alarm::~alarm() = default; // the thread is told to stop, and waited for

std::shared_ptr<void> alarm::at(deadline when, std::function<void()> call) {
  const std::lock_guard lock{x_guard};
  const key mine{when, ++x_last};
  x_calls.emplace(mine, std::move(call));
  if (!x_thread.joinable())
    x_thread = std::jthread([this](const std::stop_token& stop) { run(stop); });
  if (x_calls.begin()->first == mine)
    x_come.notify_one();
  auto end = [from = weak_from_this(), mine](void*) {
    if (const auto still = from.lock())
      still->forget(mine);
  };
  return {nullptr, std::move(end)};
}

void alarm::forget(const key& which) {
  std::function<void()> gone; // ends outside the lock: it may hold what holds others
  const std::lock_guard lock{x_guard};
  if (const auto found = x_calls.find(which); found != x_calls.end()) {
    gone = std::move(found->second);
    x_calls.erase(found);
  }
}

void alarm::run(const std::stop_token& stop) {
  std::unique_lock lock{x_guard};
  while (!stop.stop_requested()) {
    if (x_calls.empty()) {
      x_come.wait(lock, stop, [this] { return !x_calls.empty(); });
      continue;
    }
    const auto first = x_calls.begin()->first;
    if (first.first > std::chrono::steady_clock::now()) {
      x_come.wait_until(lock, stop, first.first, [&] {
        return x_calls.empty() || x_calls.begin()->first != first;
      });
      continue;
    }
    auto call = std::move(x_calls.begin()->second);
    x_calls.erase(x_calls.begin());
    lock.unlock();
    call();
    call = nullptr;
    lock.lock();
  }
}

} // namespace viva::actors
