#pragma once

// Death: why a process ended, from what the system says of it and what was known before. Pure.
//
//   ended                                 reason          blamed      its restart counts
//   exit 0 after a goodbye                normal          nobody      yes
//   exit 0 without                        early_exit      lane        yes
//   by our signal                         as we meant it  as that says
//   SIGKILL, memory was short             oom             work        as want of memory
//   SIGKILL, SIGTERM, SIGINT, SIGHUP      killed          nobody      yes
//   SIGSEGV and its like                  crash           work        yes
//   SIGABRT                               aborted         work        yes
//   SIGXCPU                               stalled         work        yes
//   exit 71                               device_sticky   work        yes
//   exit 72                               device_lost     device      no
//   exit 73                               bad_input       work        no; nor is the work run again
//   exit 74                               io              machine     no
//   exit 75                               temporary       nobody      no
//   exit 76                               oom             work        as want of memory
//   exit 77                               fenced          nobody      no
//   exit 78                               misconfigured   machine     yes; a first start is final
//   any other exit code                   exit_code       work        yes
//
// Blame is `blame_of(reason)`, what counts `counted_as(reason)`: reason.cpp has the table.

#include "supervision/reason.hpp"

#include <optional>
#include <string>

namespace viva::supervision {

/// Exit codes by which a process says why it goes; 71 to 78, beside those of sysexits.h.
namespace exit_words {
inline constexpr int device_sticky = 71, device_lost = 72, bad_input = 73, io = 74, temporary = 75,
                     oom = 76, fenced = 77, misconfigured = 78;
} // namespace exit_words

/// What waitid told: an exit code, or the signal that ended it.
struct exit_status {
  bool exited = false;
  int number = 0;
};

/// What its guardian knew.
struct last_known {
  std::optional<fault> killed_for{}; ///< We sent the signal, for this.
  bool said_goodbye = false;
  bool memory_was_short = false; ///< The system killed for memory lately, or had little left.
  std::string words{};           ///< Its last words, or what was wrong with it; may be empty.
};

caf::error judge_death(exit_status how, const last_known& known);

} // namespace viva::supervision
