#pragma once

// Answering: how the pipeline's calls come to an answer where the work never begins, waits outside
// for room, or throws.

#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/house.hpp"
#include "actors/pipeline/late_comer.hpp"

#include <exception>
#include <functional>
#include <memory>
#include <new>
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

/// The same where nothing may throw: `spare` where there is no memory for the words.
inline error caught(const std::string& name, error& spare) noexcept {
  try {
    return caught(name);
  } catch (...) {
    return std::move(spare);
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

/// What follows upon an admission: `begin(lease)`, or an answer that says why not. Throws nothing:
/// who gives room back may not.
template <class T, class Begin>
budget::admission beginning(std::string name, std::shared_ptr<outcome<expected<T>>> answer,
                            Begin begin) {
  error spare{errc::over_budget, name + ": no memory is left for this call; free some"};
  return [name = std::move(name), answer = std::move(answer), begin = std::move(begin),
          spare = std::move(spare)](expected<budget::lease> lease) mutable {
    try {
      if (lease)
        return begin(std::move(*lease));
      lease.error().text = name + ": " + lease.error().text;
      answer->set(tl::unexpected(std::move(lease.error())));
    } catch (...) {
      answer->set(tl::unexpected(caught(name, spare)));
    }
  };
}

/// Bytes of the budget and no ticket, as for a tensor that stays. `begin(lease, answer)` starts the
/// work, a shard_rounds; null where it has answered by itself.
template <class T, class Begin>
future<expected<T>> admitted(pipeline_floor& floor, std::uint64_t bytes, const std::string& name,
                             const submit_options& options, Begin begin) {
  const auto answer = std::make_shared<outcome<expected<T>>>();
  const auto state = std::make_shared<late_comer>();
  auto& room = *floor.room;
  auto go = beginning<T>(name, answer, [=](budget::lease lease) {
    if (state->begin())
      if (const auto job = begin(std::move(lease), answer))
        state->has_begun([&] { return withdraws(job); });
  });
  // All that may throw comes before the work begins: it reads what is the caller's.
  const auto number = std::make_shared<std::uint64_t>(0); // of who waits outside
  answer->on_withdraw(
    [=, from = std::weak_ptr{floor.room}, waits = std::weak_ptr{answer}](errc why) {
      if (state->go(why))
        return;
      if (const auto still = from.lock(); still && *number != 0)
        still->leave(*number);
      if (const auto still = waits.lock())
        still->set(fail(why, name + (why == errc::timed_out
                                       ? ": the deadline passed before the budget had room"
                                       : ": nobody wants it any more")));
    },
    options.until, floor.arm());
  if (options.when_full != on_full::suspend) {
    go(room.admit({bytes, 0}, options.when_full, options.until));
    return future<expected<T>>{answer};
  }
  const auto parked = room.park({bytes, 0}, std::move(go));
  if (!parked)
    return refused<T>({parked.error().code, name + ": " + parked.error().text});
  *number = *parked;
  return future<expected<T>>{answer};
}

} // namespace viva::actors
