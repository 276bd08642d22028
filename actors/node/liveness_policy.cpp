#include "actors/node/liveness_policy.hpp"

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
}

void liveness_policy::replaced() {
  x_lost = true;
}

life liveness_policy::look(time_point now) {
  const auto lag = now - x_looked - x_times.period;
  x_looked = now;
  if (lag > x_times.own_lag_max) {
    x_heard += lag;
    x_broken += lag;
    x_excused = now + x_times.lost_after;
  }
  // A peer lets go of one that stands still: the way back may be as slow as any.
  const auto window = x_broken < x_excused ? x_times.lost_after : x_times.reconnect_window;
  x_lost = x_lost || now - x_heard > x_times.lost_after
           || (!x_connected && now - x_broken > window);
  if (x_lost)
    return life::lost;
  if (!x_known)
    return life::waiting;
  return !x_connected || now - x_heard > x_times.suspect_after ? life::suspect : life::alive;
}

} // namespace viva::actors::node
