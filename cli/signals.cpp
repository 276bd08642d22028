#include "cli/signals.hpp"

#include <csignal>
#include <unistd.h>

namespace viva::cli {

namespace {

std::atomic<bool> asked_to_stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

extern "C" void on_signal(int) {
  if (asked_to_stop.exchange(true))
    ::_exit(130);
}

} // namespace

const std::atomic<bool>& watch_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  return asked_to_stop;
}

} // namespace viva::cli
