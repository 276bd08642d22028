#pragma once

// Answering: how the pipeline's calls come to an answer where the work never begins, waits outside
// for room, or throws.

#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/house.hpp"

#include <exception>
#include <functional>
#include <mutex>
#include <new>
#include <optional>
#include <string>

namespace viva::actors {

template <class T>
future<expected<T>> refused(error why) {
  auto answer = std::make_shared<outcome<expected<T>>>();
  answer->set(tl::unexpected(std::move(why)));
  return future<expected<T>>{answer};
}

/// What was thrown, as the error of `name`. Call in a catch block.
inline error caught(const std::string& name) {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return {errc::over_budget, name + ": no memory is left for this call; free some"};
  } catch (const std::exception& why) {
    return {errc::fault, name + ": " + why.what()};
  } catch (...) {
    return {errc::fault, name + ": threw what is no std::exception"};
  }
}

/// `call()`, or a future of what it threw.
template <class T, class Call>
future<expected<T>> answered(const std::string& name, const Call& call) {
  try {
    return call();
  } catch (...) {
    return refused<T>(caught(name));
  }
}

/// What follows upon an admission: `begin(lease)`, or an answer that says why not.
template <class T, class Begin>
budget::admission beginning(std::string name, std::shared_ptr<outcome<expected<T>>> answer,
                            Begin begin) {
  return [name = std::move(name), answer = std::move(answer),
          begin = std::move(begin)](expected<budget::lease> lease) {
    if (!lease)
      return answer->set(fail(lease.error().code, name + ": " + lease.error().text));
    try {
      begin(std::move(*lease));
    } catch (...) {
      answer->set(tl::unexpected(caught(name)));
    }
  };
}

/// Work that has nobody to withdraw before it was let in. Whichever is first counts.
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
  void has_begun(std::function<void(errc)> by) {
    std::optional<errc> why;
    {
      const std::lock_guard lock{guard};
      withdraw = by;
      why = gone;
    }
    if (why)
      by(*why);
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

/// Bytes of the budget and no ticket, as for a tensor that stays. `begin(lease, answer)` starts the
/// work, a shard_rounds; null where it has answered by itself.
template <class T, class Begin>
future<expected<T>> admitted(pipeline_floor& floor, std::uint64_t bytes, const std::string& name,
                             const submit_options& options, Begin begin) {
  const auto answer = std::make_shared<outcome<expected<T>>>();
  const auto state = std::make_shared<late_comer>();
  auto& room = *floor.room;
  const auto go = beginning<T>(name, answer, [=](budget::lease lease) {
    if (!state->begin())
      return;
    if (const auto job = begin(std::move(lease), answer))
      state->has_begun(withdraws(job));
  });
  std::function<void()> leave = [] {};
  if (options.when_full == on_full::suspend) {
    const auto number = room.park({bytes, 0}, go);
    if (!number)
      return refused<T>({number.error().code, name + ": " + number.error().text});
    leave = [from = std::weak_ptr{floor.room}, number = *number] {
      if (const auto still = from.lock())
        still->leave(number);
    };
  } else {
    go(room.admit({bytes, 0}, options.when_full, options.until));
  }
  answer->on_withdraw(
    [=, waits = std::weak_ptr{answer}](errc why) {
      if (state->go(why))
        return;
      leave();
      if (const auto still = waits.lock())
        still->set(fail(why, name + (why == errc::timed_out
                                       ? ": the deadline passed before the budget had room"
                                       : ": nobody wants it any more")));
    },
    options.until, floor.arm());
  return future<expected<T>>{answer};
}

} // namespace viva::actors
