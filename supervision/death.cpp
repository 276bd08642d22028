#include "supervision/death.hpp"

#include <csignal>
#include <cstring>

namespace viva::supervision {
namespace {

fault fault_of_signal(int number, bool memory_was_short) noexcept {
  switch (number) {
    case SIGKILL:
      return memory_was_short ? fault::oom : fault::killed;
    case SIGTERM:
    case SIGINT:
    case SIGHUP:
      return fault::killed;
    case SIGABRT:
      return fault::aborted;
    case SIGXCPU:
      return fault::stalled;
    default:
      return fault::crash;
  }
}

fault fault_of_exit(int code) noexcept {
  switch (code) {
    case 0:
      return fault::early_exit;
    case exit_words::device_sticky:
      return fault::device_sticky;
    case exit_words::device_lost:
      return fault::device_lost;
    case exit_words::bad_input:
      return fault::bad_input;
    case exit_words::io:
      return fault::io;
    case exit_words::temporary:
      return fault::temporary;
    case exit_words::oom:
      return fault::oom;
    case exit_words::fenced:
      return fault::fenced;
    case exit_words::misconfigured:
      return fault::misconfigured;
    default:
      return fault::exit_code;
  }
}

std::string name_of_signal(int number) {
  const char* name = ::sigabbrev_np(number);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(number);
}

} // namespace

caf::error judge_death(exit_status how, const last_known& known) {
  const auto with_words = [&](std::string text) {
    return text + (text.empty() || known.words.empty() ? "" : ": ") + known.words;
  };
  const bool told = known.killed_for == fault::shutdown;
  if (how.exited) {
    if (how.number == 0 && (known.said_goodbye || told))
      return told ? make_error(fault::shutdown, known.words) : caf::error{};
    return make_error(fault_of_exit(how.number),
                      with_words("exit " + std::to_string(how.number)));
  }
  // One that crashed while our signal was on its way crashed.
  if (known.killed_for && (how.number == SIGKILL || how.number == SIGTERM))
    return make_error(*known.killed_for, known.words);
  return make_error(fault_of_signal(how.number, known.memory_was_short),
                    with_words(name_of_signal(how.number)));
}

} // namespace viva::supervision
