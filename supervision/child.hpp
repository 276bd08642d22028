#pragma once

// Child specification: what a supervisor knows about a child before it lives.
//
//   child_spec{.id = "lane-0",
//              .start = [=](auto* sup) { return spawn<caf::detached>(sup, lane, options); },
//              .restart = permanent}
//
// A start function runs inside the supervisor and may
//   return a handle             the child is up
//   return starting(handle)     the child is up once it answers `await_up` (nested supervisors do)
//   return started{handle, info} info is passed to whoever called start_child
//   return ignore               no child now, and that is no error
//   return a caf::error or throw  the start failed
// The next child is not started before this one is up (OTP's synchronous start).

#include "supervision/reason.hpp"

#include <caf/actor.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/message.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace viva::supervision {

/// A child that runs, with what its start function wanted to tell.
struct started {
  caf::actor who; ///< Null: the child ignored its start.
  caf::message info;
};

struct ignore_t {};
inline constexpr ignore_t ignore{};

/// Not up yet: asked by `await_up` and up when it answers.
struct starting {
  caf::actor who;
  explicit starting(caf::actor handle) : who(std::move(handle)) {
  }
};

class start_result : public std::variant<started, starting, ignore_t, caf::error> {
public:
  using variant::variant;
  start_result(caf::actor who) : variant(started{std::move(who), {}}) {
  }
};

/// Takes the supervisor, and for simple_one_for_one the arguments of start_child as well.
class start_function {
public:
  using signature = start_result(caf::event_based_actor*, const caf::message&);

  start_function() = default;

  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, start_function>)
  start_function(F f) {
    if constexpr (std::is_invocable_v<F&, caf::event_based_actor*, const caf::message&>)
      x_run = std::move(f);
    else
      x_run = [run = std::move(f)](caf::event_based_actor* sup, const caf::message&) mutable
        -> start_result { return run(sup); };
  }

  explicit operator bool() const noexcept {
    return static_cast<bool>(x_run);
  }
  start_result operator()(caf::event_based_actor* sup, const caf::message& args) const {
    return x_run(sup, args);
  }

private:
  std::function<signature> x_run;
};

/// How a child is asked to go. After the time it is killed, and abandoned if even that fails: no
/// handler can be interrupted inside CAF (README, "What an actor cannot survive").
struct shutdown_policy {
  enum class kind : std::uint8_t { brutal_kill, timeout, infinity };
  kind how = kind::timeout;
  milliseconds patience{5'000};

  static constexpr shutdown_policy brutal_kill() noexcept {
    return {kind::brutal_kill, milliseconds{0}};
  }
  static constexpr shutdown_policy after(milliseconds time) noexcept {
    return {kind::timeout, time};
  }
  static constexpr shutdown_policy infinity() noexcept {
    return {kind::infinity, milliseconds{0}};
  }
  friend bool operator==(const shutdown_policy&, const shutdown_policy&) = default;
};

struct child_spec {
  std::string id{};
  start_function start{}; ///< Empty in what get_childspec answers of a temporary child that is up.
  restart_type restart = permanent;
  std::optional<shutdown_policy>
      shutdown{}; ///< Unset: 5 s for a worker, infinity for a supervisor.
  child_type type = child_type::worker;
  bool significant = false;             ///< Its end may end the supervisor (auto_shutdown).
  milliseconds start_timeout{60'000};   ///< For `starting` children; 0 waits for ever.
};

/// Checks one spec and fills the defaults in. Refuses by name with `fault::bad_spec`: missing_id,
/// missing_start, invalid_restart_type, invalid_child_type, invalid_shutdown,
/// invalid_start_timeout, bad_combination.
caf::error check(child_spec& spec, auto_shutdown mode);

/// bad_combination: significant without auto_shutdown, or permanent and significant.
caf::error check_significance(const child_spec& spec, auto_shutdown mode);

/// Checks a list without starting anything: each spec, no id twice (duplicate_child_name), and
/// exactly one spec under simple_one_for_one (bad_start_spec).
caf::error check_childspecs(std::vector<child_spec>& specs, strategy s, auto_shutdown mode);

} // namespace viva::supervision
