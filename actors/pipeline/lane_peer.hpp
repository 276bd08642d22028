#pragma once

// Lane peer: whoever computes for a tensor port, a process of this machine or a lane of a node.
// Whoever holds it owns it: with it ends what it stands for.

#include "supervision/process.hpp"

#include <caf/fwd.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace viva::actors {

class lane_peer {
public:
  virtual ~lane_peer() = default;

  // As a process's (supervision/process.hpp); events come from any thread.
  virtual void attach(supervision::process_events events) = 0;
  virtual void send(supervision::frame what) = 0;
  virtual void expect_progress(supervision::milliseconds limit) = 0;
  virtual void leave() = 0;
  /// Its process, where it is one of this machine.
  virtual std::int32_t pid() const {
    return 0;
  }
  virtual void kill(supervision::fault why, std::string words) = 0;
};

/// One for each life of a port.
using peer_source = std::function<std::unique_ptr<lane_peer>(caf::actor_system&)>;

std::unique_ptr<lane_peer> peer_of(std::unique_ptr<supervision::process>);
/// The thread that sends: frames are worked off, and events come, within `send`.
std::unique_ptr<lane_peer> make_own_peer();
/// Processes of this machine.
peer_source peers_from(std::shared_ptr<supervision::standby> processes);

} // namespace viva::actors
