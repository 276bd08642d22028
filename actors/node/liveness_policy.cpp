#include "actors/node/liveness_policy.hpp"

#include <algorithm>

namespace viva::actors::node {

liveness_policy::liveness_policy(const liveness_times& times, time_point now)
    : x_times(times), x_looked(now), x_heard(now) {
}

void liveness_policy::heard(time_point now) {
  x_heard = now;
  x_connected = x_known = true;
}

void liveness_policy::broken(time_point now) {
  if (!x_known || !x_connected) // at first, and once per break: attempts that fail change nothing
    return;
  x_connected = false;
  x_broken = now;
  x_excused = now < x_waking_until;
}

void liveness_policy::replaced() {
  x_lost = true;
}

/// A look was due, and nothing ran until now. What bears a later time than it was due was found on
/// waking, before this look.
void liveness_policy::wake(time_point due, time_point now) {
  x_excused = x_broken > due || x_excused;
  x_heard = std::min(x_heard + (now - due), now);
  x_broken = std::min(x_broken + (now - due), now);
  x_waking_until = now + x_times.waking;
}

life liveness_policy::look(time_point now) {
  const auto due = x_looked + x_times.period;
  x_looked = now;
  if (now - due > x_times.own_lag_max)
    wake(due, now);
  const auto window = x_excused ? x_times.lost_after : x_times.reconnect_window;
  x_lost = x_lost || now - x_heard > x_times.lost_after
           || (!x_connected && now - x_broken > window);
  if (x_lost)
    return life::lost;
  if (!x_known)
    return life::waiting;
  return !x_connected || now - x_heard > x_times.suspect_after ? life::suspect : life::alive;
}

} // namespace viva::actors::node
