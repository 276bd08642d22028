#pragma once

// Reasons: why a child ended or an order was refused, as caf::error with our own codes.
//
// CAF keeps an exception's text off the monitor (the reason is a bare code); `fault::exception`
// carries it. `exit_reason::normal` is no error at all in CAF 0.17 (an empty caf::error).

#include "supervision/policy.hpp"

#include <caf/error.hpp>

#include <exception>
#include <string>
#include <string_view>

namespace viva::supervision {

enum class fault : std::uint8_t {
  // ends of a life
  exception = 1,   ///< A handler or an init threw; the text is the exception's.
  shutdown,        ///< An orderly end with a reason of its own: OTP's {shutdown, Term}.
  intensity,       ///< A supervisor gave up: too many restarts within its period.
  abandoned,       ///< Neither shutdown nor kill was obeyed; the handle was dropped.
  start_failed,    ///< A child could not be started, so its supervisor could not.
  start_timed_out, ///< The child never said that it is up.
  // answers to orders
  ignored,           ///< The child decided not to run; not an error for its supervisor.
  bad_spec,          ///< The text names the field: invalid_shutdown, duplicate_child_name, …
  bad_options,       ///< The text names the option: invalid_intensity, …
  already_started,   ///< A child of this id runs.
  already_present,   ///< A child of this id is known, but does not run.
  not_found,         ///< No child of this id.
  running,           ///< restart_child or delete_child of a child that runs.
  restarting,        ///< … of a child that waits for its next attempt.
  simple_one_for_one, ///< This order needs ids, and this supervisor has none.
  no_process,        ///< The supervisor is gone.
  timed_out,         ///< The deadline passed; what was to be stopped has been killed.
  name_taken,        ///< Another living actor has this name.
};

std::string_view to_string(fault code) noexcept;
caf::error make_error(fault code, std::string text = {});

/// True where `reason` carries this code.
bool is(const caf::error& reason, fault code) noexcept;

/// How a child of this reason ended. A supervisor that gave up is abnormal unless it said shutdown.
ending ending_of(const caf::error& reason) noexcept;

/// One line: "exception: index out of range", "killed", "shutdown", "system: request_timeout".
std::string to_text(const caf::error& reason);

/// The reason for an exception caught at an actor's edge.
caf::error reason_of(const std::exception_ptr& thrown);

} // namespace viva::supervision
