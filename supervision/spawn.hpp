#pragma once

// Spawn: children as supervision wants them.
//
//   spawn<caf::detached>(sup, lane, options)    as sup->spawn, and besides
//     - the text of an uncaught exception becomes the exit reason (CAF keeps it for its console),
//     - CAF's handlers that print to stdout are silenced,
//     - the mailbox is counted, so that a dump can show its depth without asking,
//     - one that speaks for a process can say so, and the dump shows its number.
//
// Everything about CAF 0.17 that the rest of the folder should not spell out is here.

#include "supervision/reason.hpp"

#include <caf/all.hpp>

#include <atomic>
#include <type_traits>
#include <utility>

namespace viva::supervision {

/// What others see of an actor, from any thread. Messages that arrive after the end are never
/// counted down, and never looked at either.
class vital_signs {
public:
  virtual ~vital_signs() = default;
  std::uint64_t mailbox_depth() const noexcept {
    const auto out = x_out.load(std::memory_order_acquire); // first: what is in then is more
    const auto in = x_in.load(std::memory_order_relaxed);
    return in > out ? in - out : 0;
  }
  /// The number of the process that it speaks for; 0 where there is none.
  std::int32_t process() const noexcept {
    return x_process.load(std::memory_order_relaxed);
  }
  void speak_for(std::int32_t process) noexcept {
    x_process.store(process, std::memory_order_relaxed);
  }

protected:
  std::atomic<std::uint64_t> x_in{0};
  std::atomic<std::uint64_t> x_out{0}; // written by the actor only

private:
  std::atomic<std::int32_t> x_process{0};
};

/// Any event-based actor class, with a counted mailbox.
template <class Base>
class measured : public Base, public vital_signs {
public:
  using Base::Base;
  using Base::enqueue;

  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit* host) override {
    x_in.fetch_add(1, std::memory_order_relaxed);
    Base::enqueue(std::move(what), host);
  }

  caf::invoke_message_result consume(caf::mailbox_element& what) override {
    const auto result = Base::consume(what);
    if (result != caf::invoke_message_result::skipped)
      x_out.store(x_out.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    return result;
  }
};

/// Keeps exception text, and logs instead of printing what nobody handles. `spawn` calls it.
void prepare(caf::scheduled_actor* self);

/// Tells the census for which process this actor speaks; of one that `spawn` made.
void speak_for(caf::local_actor* self, std::int32_t process);

/// Ends an actor ahead of what waits in its mailbox. `from` is who it believes to have asked.
/// Inside an actor give its `context()`: without one, CAF wakes another thread for the receiver.
void urge_exit(const caf::actor& who, const caf::actor_addr& from, caf::error reason,
               caf::execution_unit* host = nullptr);

// The actor class that a function wants as its first argument.
template <class F>
struct actor_of : actor_of<decltype(&F::operator())> {};
template <class R, class Self, class... Ts>
struct actor_of<R (*)(Self*, Ts...)> : std::type_identity<Self> {};
template <class R, class F, class Self, class... Ts>
struct actor_of<R (F::*)(Self*, Ts...) const> : std::type_identity<Self> {};
template <class R, class F, class Self, class... Ts>
struct actor_of<R (F::*)(Self*, Ts...)> : std::type_identity<Self> {};

template <class Base, class Run>
class functor_actor final : public measured<Base> {
public:
  functor_actor(caf::actor_config& config, Run run)
      : measured<Base>(config), x_run(std::move(run)) {}

  caf::behavior make_behavior() override {
    prepare(this);
    auto run = std::move(x_run);
    if constexpr (std::is_void_v<std::invoke_result_t<Run&, Base*>>) {
      run(this);
      return {};
    } else {
      return run(this);
    }
  }

private:
  Run x_run;
};

/// `f(self, args...)` with self an event_based_actor* or stateful_actor<…>*, returning a behavior.
template <caf::spawn_options Options = caf::no_spawn_options, class F, class... Ts>
caf::actor spawn(caf::event_based_actor* supervisor, F f, Ts... args) {
  using base = typename actor_of<F>::type;
  auto run = [f = std::move(f), ... xs = std::move(args)](base* self) mutable {
    return f(self, std::move(xs)...);
  };
  return supervisor->spawn<functor_actor<base, decltype(run)>, Options>(std::move(run));
}

} // namespace viva::supervision
