#pragma once

// Budget: how many bytes and tickets of a pipeline may be under way. First come, first served, so
// a large request is not starved by small ones.

#include "actors/pipeline/future.hpp"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>

namespace viva {

/// What a submit does while the budget is full.
enum class on_full : std::uint8_t {
  block,   ///< Waits, at most until the work's deadline.
  refuse,  ///< Answers errc::over_budget at once.
  suspend, ///< Returns at once; the work waits outside, holding its view alone, and is admitted
           ///< later. `co_await` its future to suspend a coroutine that produces.
};

namespace actors {

class budget : public std::enable_shared_from_this<budget> {
public:
  struct amount {
    std::uint64_t bytes = 0;
    std::uint32_t tickets = 0;
  };

  /// Gives its amount back when it goes.
  class lease {
  public:
    lease() = default;
    lease(std::shared_ptr<budget> from, amount what) : x_from(std::move(from)), x_what(what) {
    }
    lease(lease&&) noexcept = default;
    lease& operator=(lease&& other) noexcept {
      end();
      x_from = std::move(other.x_from);
      x_what = other.x_what;
      return *this;
    }
    ~lease() {
      end();
    }
    explicit operator bool() const noexcept {
      return x_from != nullptr;
    }
    void end() noexcept {
      if (const auto from = std::move(x_from))
        from->give_back(x_what);
    }

  private:
    std::shared_ptr<budget> x_from;
    amount x_what;
  };

  /// `parked_max`: requests that may wait outside; one more is refused.
  budget(amount all, std::uint32_t parked_max) : x_all(all), x_parked_max(parked_max) {
  }

  /// block and refuse. Errors: over_budget, timed_out, why it was closed.
  expected<lease> admit(amount what, on_full mode, deadline until);
  /// Gets the lease, or why the budget was closed. May not throw: who gives back does not expect
  /// it.
  using admission = std::function<void(expected<lease>)>;
  /// suspend: `go` is called now or later, on the thread that made room or closed. Errors as
  /// `admit`; then `go` is not called. Answers the waiter's number, for `leave`.
  expected<std::uint64_t> park(amount what, admission go);
  /// Who parked waits no longer, if it still did; its `go` is not called.
  void leave(std::uint64_t number);
  /// Everybody who waits is told, and nobody is admitted any more. The first reason stands.
  void close(const error& why);

  amount used() const;
  amount all() const noexcept {
    return x_all;
  }
  std::size_t waiting() const;

private:
  struct waiter {
    std::uint64_t id = 0;
    amount what;
    admission go;
  };
  expected<void> check(amount what) const;
  bool fits(amount what) const noexcept {
    return x_used.bytes + what.bytes <= x_all.bytes
           && x_used.tickets + what.tickets <= x_all.tickets;
  }
  void give_back(amount what) noexcept;
  void admit_waiting(std::unique_lock<std::mutex>&);

  const amount x_all;
  const std::uint32_t x_parked_max;
  mutable std::mutex x_guard;
  amount x_used;
  std::deque<waiter> x_waiting;
  std::uint64_t x_last_id = 0;
  error x_closed; // ok: it is not
  bool x_admitting = false; // a thread is in admit_waiting
};

} // namespace actors
} // namespace viva
