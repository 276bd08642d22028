#include "actors/pipeline/alarm.hpp"

#include <condition_variable>
#include <cstdint>
#include <map>
#include <utility>

namespace viva::actors {

struct alarm::book {
  using key = std::pair<deadline, std::uint64_t>;

  std::mutex guard;
  std::condition_variable_any come;
  std::map<key, std::function<void()>> calls; // the earliest first
  std::uint64_t last = 0;

  key add(deadline when, std::function<void()>&& call);
  void forget(const key& which);
  void run(const std::stop_token& stop);
};

alarm::alarm() : x_book(std::make_shared<book>()) {
}

alarm::~alarm() {
  x_thread.request_stop();
  if (x_thread.get_id() == std::this_thread::get_id())
    x_thread.detach(); // it ends with this call, and the book with it
}

void alarm::begin() {
  const std::lock_guard lock{x_guard};
  if (!x_thread.joinable())
    x_thread = std::jthread([with = x_book](const std::stop_token& stop) { with->run(stop); });
}

alarm::book::key alarm::book::add(deadline when, std::function<void()>&& call) {
  const std::lock_guard lock{guard};
  const key mine{when, ++last};
  calls.emplace(mine, std::move(call));
  if (calls.begin()->first == mine)
    come.notify_one();
  return mine;
}

void alarm::soon(std::function<void()> call) {
  begin(); // first: a call that is told to have failed must not run
  x_book->add(deadline::min(), std::move(call));
}

std::shared_ptr<void> alarm::at(deadline when, std::function<void()> call) {
  begin();
  const auto mine = x_book->add(when, std::move(call));
  auto end = [from = std::weak_ptr(x_book), mine](void*) {
    if (const auto still = from.lock())
      still->forget(mine);
  };
  return {nullptr, std::move(end)};
}

void alarm::book::forget(const key& which) {
  std::function<void()> gone; // ends outside the lock: it may hold what holds others
  const std::lock_guard lock{guard};
  if (const auto found = calls.find(which); found != calls.end()) {
    gone = std::move(found->second);
    calls.erase(found);
  }
}

void alarm::book::run(const std::stop_token& stop) {
  std::unique_lock lock{guard};
  while (!stop.stop_requested()) {
    if (calls.empty()) {
      come.wait(lock, stop, [this] { return !calls.empty(); });
      continue;
    }
    const auto first = calls.begin()->first;
    if (first.first > std::chrono::steady_clock::now()) {
      come.wait_until(lock, stop, first.first,
                      [&] { return calls.empty() || calls.begin()->first != first; });
      continue;
    }
    auto call = std::move(calls.begin()->second);
    calls.erase(calls.begin());
    lock.unlock();
    call();
    call = nullptr;
    lock.lock();
  }
}

} // namespace viva::actors
