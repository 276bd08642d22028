#pragma once

// Meeting: from an address to a session of the node there, or why there is none.

#include "actors/node/address.hpp"
#include "actors/node/letters.hpp"

#include <caf/event_based_actor.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <random>
#include <utility>

namespace viva::actors::node {

struct met_node {
  stamp as;
  caf::actor session;
  std::uint32_t lanes = 0; ///< Of its own.
};

/// Knocks, which blocks for a second at most, connects, says hello. `then` is called once, in a
/// handler of `self` or before this returns. Errors that are retryable, or `interrupted`, may be
/// over soon; by others the node refused.
void meet_node(caf::event_based_actor* self, const address& where, hello::wish wants,
               std::function<void(expected<met_node>)> then);

/// The ports above the node's own (address.hpp).
address bulk_port(address of);
address liveness_port(address of);

/// Whether meeting again soon may end better.
inline bool may_be_over_soon(const error& problem) {
  return problem.code == errc::interrupted || retryable(problem.code);
}

/// How long until a lost node is looked for again: longer each time, up to 5 s, with jitter, so
/// that many who lost the same node do not come back at one moment. Short again after a node was
/// of use for 10 s: one that joins and speaks nonsense is not met the sooner for having joined.
class pauses {
public:
  std::chrono::milliseconds next();
  void joined() {
    x_joined = std::chrono::steady_clock::now();
  }
  /// What had joined was lost: who comes after waits, too.
  void lost() {
    x_lost = true;
  }
  std::chrono::milliseconds before_life() {
    return std::exchange(x_lost, false) ? next() : std::chrono::milliseconds{0};
  }

private:
  unsigned x_failures = 0; // in a row
  bool x_lost = false;
  std::optional<std::chrono::steady_clock::time_point> x_joined;
  std::mt19937 x_dice{std::random_device{}()};
};

inline constexpr std::chrono::milliseconds again_min{100}, again_max{5'000}, again_refused{5'000};

} // namespace viva::actors::node
