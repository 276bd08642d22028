#pragma once

// Lease: until when lanes of a node may write into files that others write, too. A page of memory
// that the node moves on and its lane processes map; who is about to write looks there.
//
// Its clock is CLOCK_BOOTTIME: nobody sets it, and it goes on while the machine sleeps.

#include "kernels/error.hpp"
#include "supervision/descriptor.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>

namespace viva::actors {

class lease {
public:
  using time = std::chrono::nanoseconds; ///< Since this machine was started.
  static time now() noexcept;

  static expected<std::shared_ptr<lease>> make(time until);
  /// To look at one of another process. Refuses what is not one.
  static expected<std::shared_ptr<lease>> join(const supervision::descriptor& page);
  lease(const lease&) = delete;
  ~lease();

  bool holds(time at = now()) const noexcept {
    return at.count() < x_until->load(std::memory_order_acquire);
  }
  /// Never back, and not once it was ended. Of the one that was made.
  void extend(time until) noexcept;
  /// For ever.
  void end() noexcept {
    x_until->store(0, std::memory_order_release);
  }
  /// For another process.
  const std::shared_ptr<const supervision::descriptor>& page() const noexcept {
    return x_page;
  }

private:
  using moment = std::atomic<std::int64_t>;
  static_assert(moment::is_always_lock_free, "shared between processes");
  lease(std::shared_ptr<const supervision::descriptor> page, moment* until)
    : x_page(std::move(page)), x_until(until) {
  }

  std::shared_ptr<const supervision::descriptor> x_page; ///< Null where it was joined.
  moment* x_until; ///< 0: ended.
};
using lease_ptr = std::shared_ptr<const lease>;

/// Thrown instead of a write: the lane ends, as what it works on is another's by now.
struct lease_over : std::runtime_error {
  lease_over();
};

} // namespace viva::actors
