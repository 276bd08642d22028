#pragma once

// Late comer: work that has nobody to withdraw it before it was let in, which may be on another
// thread than the one that does not want it any more.

#include "kernels/error.hpp"

#include <functional>
#include <mutex>
#include <optional>

namespace viva::actors {

/// Whichever is first counts: that it begins, or that nobody wants it.
struct late_comer {
  std::mutex guard;
  bool begun = false;
  std::optional<errc> gone;
  std::function<void(errc)> withdraw; ///< The work itself, once it has begun.

  /// False where nobody wants it any more.
  bool begin() {
    const std::lock_guard lock{guard};
    begun = !gone;
    return begun;
  }
  /// `by()` makes what withdraws it. Where there is no memory for that the work goes on to its end:
  /// it must not be answered for by anybody else.
  template <class Withdraws>
  void has_begun(const Withdraws& by) noexcept {
    try {
      const std::function<void(errc)> tell = by();
      std::optional<errc> why;
      {
        const std::lock_guard lock{guard};
        withdraw = tell;
        why = gone;
      }
      if (why)
        tell(*why);
    } catch (...) {
      return;
    }
  }
  /// False where it had not begun, and never will.
  bool go(errc why) {
    std::function<void(errc)> tell;
    {
      const std::lock_guard lock{guard};
      gone = why;
      if (!begun)
        return false;
      tell = withdraw;
    }
    if (tell)
      tell(why); // else `has_begun` does
    return true;
  }
};

} // namespace viva::actors
