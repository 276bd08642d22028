#pragma once

// Far lanes: what a pipeline has with its nodes, from the words that name them on.

#include "actors/pipeline/lane_peer.hpp"
#include "kernels/error.hpp"

#include <caf/fwd.hpp>

#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace viva {
struct pipeline_options;
} // namespace viva

namespace viva::actors {

class far_lanes {
public:
  /// Fails where an address is none, or needs certificates that were not named.
  static expected<std::unique_ptr<far_lanes>> of(const pipeline_options&);
  ~far_lanes(); ///< After the actor system.

  /// Before the actor system is made.
  void load(caf::actor_system_config&);
  /// Lanes go round over the nodes.
  peer_source source_of(std::size_t lane) const;
  /// Calls once, from a thread of its own, where every node has refused or none was to be had for
  /// the options' `node_timeout_seconds`.
  void watch(std::function<void(const error&)> give_up);
  /// Waits until all lanes are up, or some and a second has gone by. `lanes_up`: of `lanes`. Fails
  /// where none is within 10 s, or every node refused.
  expected<void> wait(const std::function<std::uint32_t()>& lanes_up, std::uint32_t lanes) const;

private:
  struct parts;
  explicit far_lanes(std::unique_ptr<parts> made);
  std::unique_ptr<parts> x_parts;
  std::jthread x_vigil; // ends before what it looks at
};

} // namespace viva::actors
