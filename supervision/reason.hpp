#pragma once

// Reasons: why a child ended or an order was refused, as caf::error with our own codes.
//
// CAF keeps an exception's text off the monitor (the reason is a bare code); `fault::exception`
// carries it. `exit_reason::normal` is no error at all in CAF 0.17 (an empty caf::error).

#include "supervision/policy.hpp"

#include <caf/error.hpp>

#include <cstdint>
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
  bad_options,       ///< The text names the option: invalid_period, …
  already_started,   ///< A child of this id runs.
  already_present,   ///< A child of this id is known, but does not run.
  not_found,         ///< No child of this id.
  running,           ///< restart_child or delete_child of a child that runs.
  restarting,        ///< … of a child that waits for its next attempt.
  simple_one_for_one, ///< This order needs ids, and this supervisor has none.
  no_process,        ///< The supervisor is gone.
  timed_out,         ///< The deadline passed; what was to be stopped has been killed.
  name_taken,        ///< Another living actor has this name.
  // ends of a process that stands for a child (death.hpp)
  crash,         ///< SIGSEGV, SIGBUS, SIGILL, SIGFPE or the like; the text names it.
  aborted,       ///< SIGABRT: an assertion, std::terminate, a damaged heap.
  oom,           ///< The system took its memory back, or it said that it got none.
  hang,          ///< No heartbeat: stopped, swapped out, or in a call that never ends.
  stalled,       ///< The heart beats, the work does not move.
  protocol,      ///< It spoke nonsense.
  early_exit,    ///< It left without a goodbye.
  killed,        ///< SIGKILL or SIGTERM from somebody else.
  device_sticky, ///< A device error that only the end of the process clears.
  device_lost,   ///< The device is gone.
  bad_input,     ///< It refuses what it was given, and would again.
  io,            ///< A disk that is full or broken.
  temporary,     ///< It asks to be tried again later.
  fenced,        ///< It lost the right to work on what it had.
  misconfigured, ///< Another build than ours, or its known answer is wrong.
  exit_code,     ///< Any other exit code; the text says which.
  node_lost,     ///< It ran on another machine, which is gone or was not heard of.
};

/// Whose fault a death is, hence what is to be changed before the next attempt.
enum class blame : std::uint8_t {
  nobody,  ///< Told to end, or ended by a third party: try the same again.
  work,    ///< What was being executed at that moment, and nothing that only waited.
  lane,    ///< The one that executed: its successor may take the same work.
  device,  ///< Its device: work goes elsewhere.
  machine, ///< Disk, memory or program of this machine.
};

/// What a restart after an end counts in: a storm of restarts is to end its supervisor, and not
/// what the child is not to blame for and time may mend.
enum class tally : std::uint8_t {
  restart, ///< The intensity.
  memory,  ///< Ends for want of memory, which have an intensity of their own.
  none,    ///< Nothing: only the backoff holds it up.
};

std::string_view to_string(fault code) noexcept;
caf::error make_error(fault code, std::string text = {});

/// True where `reason` carries this code.
bool is(const caf::error& reason, fault code) noexcept;

/// How a child of this reason ended. A supervisor that gave up is abnormal unless it said shutdown.
ending ending_of(const caf::error& reason) noexcept;

/// Of any reason a child ended with. Blame on work is a strike only against what was executing.
blame blame_of(const caf::error& reason) noexcept;
std::string_view to_string(blame whom) noexcept;

/// Of any reason a child ended with, or its start failed with.
tally counted_as(const caf::error& reason) noexcept;

/// One line: "exception: index out of range", "killed", "shutdown", "system: request_timeout".
std::string to_text(const caf::error& reason);

/// A reason in plain values, for other machines: the number of its fault, 0 where it is none of
/// ours, and its words without the fault's name. `make_error` is the way back.
struct plain_reason {
  std::uint8_t number = 0;
  std::string words;
};
plain_reason plain(const caf::error& reason);

/// The reason for an exception caught at an actor's edge.
caf::error reason_of(const std::exception_ptr& thrown);

} // namespace viva::supervision
