#pragma once

// Remote lane: one life of a lane of another machine, seen from the conductor exactly as a port is.
//
//   hears   batch          -> batch_receipt to the conductor named in it
//           lane_heard     from its link: receipts
//           lane_lost      from its link: the lane there, or the whole node, is gone
//           lane_drains    from its link: takes no more, and ends once nothing is out
//   ends    with that lane, and with the reason and the mark that its node tells; with its link
//   child   temporary, of the lane supervisor: the link starts the next life

#include "actors/messages.hpp"
#include "actors/meter.hpp"

#include <caf/stateful_actor.hpp>

#include <deque>
#include <memory>
#include <string>

namespace viva::actors::node {

struct remote_lane_options {
  std::string id; ///< Among the coordinator's lanes: "10.0.0.2:4242/lane-0".
  caf::actor link;
  std::uint32_t lane = 0, life = 0; ///< As the node counts them.
  std::uint64_t join = 0;
  std::shared_ptr<lane_meter> meter;
};

struct remote_lane_state {
  remote_lane_options options;
  std::deque<batch> out;  ///< At the node.
  std::deque<batch> held; ///< Came while it drains; run elsewhere when this ends.
  bool drains = false;
  static inline const char* name = "remote_lane";
};

caf::behavior remote_lane(caf::stateful_actor<remote_lane_state>* self,
                          remote_lane_options options);

/// To the link: this batch is for that life of that lane.
struct lane_says {
  std::uint32_t lane = 0, life = 0;
  std::uint64_t join = 0;
  std::string order; ///< A work_order.
};
/// To the link: what it passed on from the node makes no sense.
struct lane_distrusts {
  std::uint64_t join = 0;
  std::string why;
};
struct lane_heard {
  std::string receipts;
};
struct lane_lost {
  caf::error reason;
  std::uint32_t mark = no_shard;
};
struct lane_drains {};
/// To the link: it drained, and ends.
struct lane_left {
  std::uint32_t lane = 0, life = 0;
  std::uint64_t join = 0;
};

} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lane_says)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lane_distrusts)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lane_heard)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lane_lost)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lane_drains)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lane_left)
