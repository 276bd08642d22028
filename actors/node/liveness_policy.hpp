#pragma once

// Liveness policy: from beats and breaks to a life, without a clock or a socket of its own.
//
// A peer is alive while its beats come; suspect without one for `suspect_after` or without a
// connection; lost, for ever, without a beat for `lost_after` or a connection for
// `reconnect_window`. Who was not scheduled itself for a while cannot have heard, so each late look
// moves the deadlines by its lateness, and a connection that breaks soon after may take as long as
// silence to come back: a program that was stopped blames nobody when it wakes.

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
  const liveness_times x_times;
  time_point x_looked, x_heard, x_broken{}, x_excused{}; // excused: breaks until then are ours
  bool x_connected = true; // or about to be, at first
  bool x_known = false, x_lost = false;
};

} // namespace viva::actors::node
