#pragma once

// Liveness policy: from beats and breaks to a life, without a clock or a socket of its own.
//
// A peer is alive while its beats come; suspect without one for `suspect_after` or without a
// connection; lost, for ever, without a beat for `lost_after` or a connection for
// `reconnect_window`.
//
// Who was not scheduled itself for a while cannot have heard, so a late look moves the deadlines
// by its lateness. A peer lets go of one that stands still, so a break that is found on waking, or
// soon after, may be one's own doing: the way back may then take as long as silence. One that was
// known before was not, and has what is left of its window.

#include <chrono>
#include <cstdint>

namespace viva::actors::node {

enum class life : std::uint8_t { waiting, alive, suspect, lost };

struct liveness_times {
  std::chrono::milliseconds period{100}; ///< Of beats and of looks.
  std::chrono::milliseconds suspect_after{500};
  std::chrono::milliseconds lost_after{3'400}; ///< With a period and the look that sees it: 3.6 s.
  std::chrono::milliseconds reconnect_window{200};
  std::chrono::milliseconds own_lag_max{300}; ///< A look that is later was held up.
  /// So long after waking a break may still come of it: a full link there and back, a packet lost.
  std::chrono::milliseconds waking{2'000};
};

class liveness_policy {
public:
  using time_point = std::chrono::steady_clock::time_point;

  liveness_policy(const liveness_times& times, time_point now);

  void heard(time_point now);
  void broken(time_point now);
  /// Another life answered in its place.
  void replaced();
  /// Once a period: what it is by now.
  life look(time_point now);

private:
  void wake(time_point due, time_point now);

  const liveness_times x_times;
  time_point x_looked, x_heard, x_broken{}, x_waking_until{};
  bool x_connected = true; // or about to be, at first
  bool x_excused = false;  // the break may be ours
  bool x_known = false, x_lost = false;
};

} // namespace viva::actors::node
