#pragma once

// Orders: a supervisor's options, and the structs it understands, in the order one meets them.
//
// Each order is sent as a request and answered with the type behind its arrow or with an error
// whose code is a `fault`. They stay inside one process: none can be serialized.

#include "supervision/census.hpp"
#include "supervision/child.hpp"
#include "supervision/names.hpp"
#include "supervision/report.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/exit_reason.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace viva::supervision {

/// Sent to subscribers when a child is up, at its start and after every restart.
struct child_up {
  std::string id;
  caf::actor who;
  std::uint64_t restarts = 0; ///< How often this child was restarted; 0 at its first start.
};

/// Sent to subscribers when a child has ended, for whatever reason, before any restart.
struct child_down {
  std::string id;
  caf::error reason;
};

/// Who learns of both: an actor that handles the structs, or functions that run inside the
/// supervisor and so must be short and must not throw. Unset members are skipped.
struct subscriber {
  caf::actor who{};
  std::function<void(const child_up&)> on_up{};
  std::function<void(const child_down&)> on_down{};
};

/// One start_bucket for many supervisors.
class shared_bucket {
public:
  shared_bucket(std::uint32_t starts_per_s, std::uint32_t burst) : x_bucket(starts_per_s, burst) {
  }
  milliseconds take(time_point now) {
    std::lock_guard lock{x_guard};
    return x_bucket.take(now);
  }

private:
  std::mutex x_guard;
  start_bucket x_bucket;
};

struct supervisor_options {
  std::string name = "supervisor";     ///< In reports, names and dumps.
  strategy how = strategy::one_for_one;
  std::uint32_t intensity = 1;         ///< Most restarts within `period`.
  milliseconds period{5'000};          ///< At least 1 ms (OTP: 1 s).
  auto_shutdown ends = auto_shutdown::never;
  backoff_options backoff{};           ///< Before the second and later restarts in a row.
  bool revive = false;                 ///< Group restarts start children that ended as allowed or
                                       ///< were stopped by hand (OTP: true).
  bool give_up_is_shutdown = false;    ///< Giving up looks like a shutdown to the parent, so a
                                       ///< transient supervisor stays away (OTP: true).
  bool whole_seconds = false;          ///< Count the window in whole seconds (OTP: true).
  bool count_by_reason = true;         ///< What `counted_as` says; without backoff, and in OTP,
                                       ///< every restart counts.
  bool stop_in_parallel = false;       ///< Stop all at once instead of last to first.
  std::uint32_t start_retries = 0;     ///< Failed first starts that are tried again, over a boot or
                                       ///< one start_child; each counts as a restart. OTP: 0.
                                       ///< Final: start_failed and misconfigured.
  milliseconds abandon_after{5'000};   ///< From kill to dropping a child that will not end.
  std::uint64_t seed = 0;              ///< Of the jitter; 0 takes one from the system.
  std::vector<subscriber> subscribers{};
  std::shared_ptr<reporter> reports{}; ///< Unset: the parent's; at the root, none.
  std::shared_ptr<names> registry{};   ///< Unset: the parent's. Children are `<name>/<id>` in it.
  std::shared_ptr<census> people{};    ///< Unset: the parent's. Where dumps come from.
  std::shared_ptr<shared_bucket> bucket{}; ///< Unset: the parent's. Limits restarts per second.
};

/// The same options with OTP's behaviour wherever ours differs on purpose.
supervisor_options otp_compat(supervisor_options options);

/// Refuses by name with `fault::bad_options`: invalid_strategy, invalid_period,
/// invalid_auto_shutdown, invalid_backoff, invalid_abandon_after, missing_name.
caf::error check(const supervisor_options& options);

// -- orders: send as a request to the supervisor -----------------------------------------------

struct await_up {};                                            ///< -> ()
struct subscribe { caf::actor who; };                          ///< -> ()
struct stop { caf::error reason = caf::exit_reason::user_shutdown; }; ///< -> (); then it ends
struct start_child { child_spec spec; };                       ///< -> started
struct start_instance { caf::message args; };                  ///< -> started; simple_one_for_one
struct restart_child { std::string id; };                      ///< -> started
struct terminate_child { std::string id; };                    ///< -> ()
struct terminate_instance { caf::actor who; };                 ///< -> ()
struct delete_child { std::string id; };                       ///< -> ()
struct which_children {};                                      ///< -> vector<child_info>
struct which_child { std::string id; };                        ///< -> child_info
struct count_children {};                                      ///< -> child_counts
struct get_childspec { std::string id; };                      ///< -> child_spec
struct get_options {};                                         ///< -> supervisor_options
/// Changes flags and specs at run time: running children are neither started nor deleted.
struct change { supervisor_options options; std::vector<child_spec> specs; }; ///< -> ()

struct child_info {
  std::string id;
  caf::actor who; ///< Null unless it is up.
  life state = life::down;
  child_type type = child_type::worker;
};

struct child_counts {
  std::size_t specs = 0, active = 0, supervisors = 0, workers = 0;
};

} // namespace viva::supervision

#define VIVA_LOCAL_MESSAGE(type) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::supervision::type)
VIVA_LOCAL_MESSAGE(child_up)
VIVA_LOCAL_MESSAGE(child_down)
VIVA_LOCAL_MESSAGE(await_up)
VIVA_LOCAL_MESSAGE(subscribe)
VIVA_LOCAL_MESSAGE(stop)
VIVA_LOCAL_MESSAGE(started)
VIVA_LOCAL_MESSAGE(start_child)
VIVA_LOCAL_MESSAGE(start_instance)
VIVA_LOCAL_MESSAGE(restart_child)
VIVA_LOCAL_MESSAGE(terminate_child)
VIVA_LOCAL_MESSAGE(terminate_instance)
VIVA_LOCAL_MESSAGE(delete_child)
VIVA_LOCAL_MESSAGE(which_children)
VIVA_LOCAL_MESSAGE(which_child)
VIVA_LOCAL_MESSAGE(count_children)
VIVA_LOCAL_MESSAGE(get_childspec)
VIVA_LOCAL_MESSAGE(get_options)
VIVA_LOCAL_MESSAGE(change)
VIVA_LOCAL_MESSAGE(child_info)
VIVA_LOCAL_MESSAGE(child_counts)
VIVA_LOCAL_MESSAGE(child_spec)
VIVA_LOCAL_MESSAGE(supervisor_options)
#undef VIVA_LOCAL_MESSAGE
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(std::vector<viva::supervision::child_info>)
