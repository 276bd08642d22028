#pragma once

// Outcome: what the work and the future of one answer share.

#include "kernels/error.hpp"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

namespace viva {

using deadline = std::chrono::steady_clock::time_point;
inline constexpr deadline no_deadline = deadline::max();

/// Which work lanes take first.
enum class urgency : std::uint8_t { high, normal, low };

/// Runs a call at a time, unless the handle it answers is gone by then.
using arm_function = std::function<std::shared_ptr<void>(deadline, std::function<void()>)>;

/// What a promise and its future share.
template <class T>
class outcome {
public:
  /// The first answer counts; later ones are dropped. `held` goes once the answer is taken.
  void set(T value, std::shared_ptr<void> held = {}) {
    std::function<void()> told;
    std::shared_ptr<void> armed;
    {
      const std::lock_guard lock{x_guard};
      if (x_value || x_taken)
        return;
      armed = std::move(x_armed);
      x_value = std::move(value);
      x_held = std::move(held);
      told = std::move(x_told);
      x_withdraw = nullptr; // it holds the work, which holds this
    }
    x_ready.notify_all();
    if (told)
      told();
  }
  /// How the work is told that nobody wants it any more. Must lead to an answer soon.
  /// `arm` is for answers that nobody waits for: `then`.
  void on_withdraw(std::function<void(errc)> withdraw, deadline until, arm_function arm) {
    const std::lock_guard lock{x_guard};
    x_until = until;
    x_arm = std::move(arm);
    if (!x_value && !x_taken)
      x_withdraw = std::move(withdraw);
  }
  void withdraw(errc why) {
    std::function<void(errc)> tell;
    {
      const std::lock_guard lock{x_guard};
      tell = x_withdraw;
    }
    if (tell)
      tell(why);
  }
  /// Past the work's own deadline it withdraws the work itself, for who asks and never waits.
  bool ready() {
    {
      const std::lock_guard lock{x_guard};
      if (x_value || x_taken)
        return true;
      if (x_until == no_deadline || std::chrono::steady_clock::now() <= x_until)
        return false;
    }
    withdraw(errc::timed_out);
    const std::lock_guard lock{x_guard};
    return x_value || x_taken;
  }
  /// Past the work's own deadline it withdraws the work itself.
  bool wait_until(deadline limit) {
    std::unique_lock lock{x_guard};
    const auto there = [this] { return x_value || x_taken; };
    if (x_until < limit && !wait(lock, x_until, there)) {
      lock.unlock();
      withdraw(errc::timed_out);
      lock.lock();
    }
    return wait(lock, limit, there);
  }
  T take() {
    wait_until(no_deadline);
    std::shared_ptr<void> held; // ends outside the lock: it may let somebody else in
    const std::lock_guard lock{x_guard};
    held = std::move(x_held);
    T value = std::move(*x_value);
    x_value.reset();
    x_taken = true;
    return value;
  }
  /// Calls `told` once the answer is there, on the thread that brings it or, where it is there
  /// already, on the caller's. Past the work's own deadline the work is withdrawn, unless there is
  /// no memory or thread to watch the clock: then lanes notice, or nobody. May throw only what
  /// `told` does: a coroutine that is to be told must not go on for another reason, too.
  void then(std::function<void()> told) {
    {
      const std::lock_guard lock{x_guard};
      if (!x_value && !x_taken) {
        arm();
        x_told = std::move(told);
        return;
      }
    }
    told();
  }

private:
  void arm() noexcept {
    try {
      if (x_until != no_deadline && x_withdraw && x_arm)
        x_armed = x_arm(x_until, [tell = x_withdraw] { tell(errc::timed_out); });
    } catch (...) {
      x_armed = nullptr;
    }
  }
  template <class Condition>
  bool wait(std::unique_lock<std::mutex>& lock, deadline limit, Condition there) {
    if (limit != no_deadline)
      return x_ready.wait_until(lock, limit, there);
    x_ready.wait(lock, there);
    return true;
  }

  mutable std::mutex x_guard;
  std::condition_variable x_ready;
  std::optional<T> x_value;
  std::function<void(errc)> x_withdraw;
  std::function<void()> x_told;
  std::shared_ptr<void> x_held, x_armed;
  arm_function x_arm;
  deadline x_until = no_deadline;
  bool x_taken = false;
};

} // namespace viva
