#pragma once

// Future: one answer that comes later, and what its work is told meanwhile.
//
//   auto q = pipe.quantize(view, nf4{});
//   q.cancel();           before a lane took it: never runs
//   auto r = q.get();     waits; once
//
// A future that goes away unread cancels its work and waits until no lane reads the caller's bytes.

#include "actors/pipeline/outcome.hpp"

#include <chrono>
#include <coroutine>
#include <memory>

namespace viva {

template <class T>
class future {
public:
  future() = default;
  explicit future(std::shared_ptr<outcome<T>> from) : x_from(std::move(from)) {
  }
  future(future&&) noexcept = default;
  future& operator=(future&& other) noexcept {
    abandon();
    x_from = std::move(other.x_from);
    return *this;
  }
  ~future() {
    abandon();
  }

  bool valid() const noexcept {
    return x_from != nullptr;
  }
  bool ready() const {
    return x_from->ready();
  }
  bool wait_for(std::chrono::nanoseconds time) const {
    return x_from->wait_until(std::chrono::steady_clock::now() + time);
  }
  /// Waits for the answer and takes it; the future is empty afterwards.
  T get() {
    const auto from = std::move(x_from);
    return from->take();
  }
  /// The answer becomes errc::interrupted unless it is there already or a lane is at its last run.
  void cancel() {
    x_from->withdraw(errc::interrupted);
  }

  /// `co_await` suspends the coroutine until the answer is there, and takes it. It goes on, on the
  /// thread that brought the answer, often a lane's: there it must not block.
  auto operator co_await() {
    struct awaiter {
      std::shared_ptr<outcome<T>> from;
      bool await_ready() const {
        return from->ready();
      }
      void await_suspend(std::coroutine_handle<> who) const {
        from->then([who] { who.resume(); });
      }
      T await_resume() const {
        return from->take();
      }
    };
    return awaiter{std::move(x_from)};
  }

private:
  void abandon() {
    if (!x_from)
      return;
    cancel();
    x_from->wait_until(no_deadline);
    x_from.reset();
  }
  std::shared_ptr<outcome<T>> x_from;
};

} // namespace viva
