#pragma once

// Lent lane: a lane of a node, lent to a pipeline of another machine. It passes orders on to a lane
// process, or works them off itself (pipeline/tensor_ward.hpp), in regions whose bytes come and go
// over the bulk path.
//
//   hears   letters   lend, then frames; those of another stamp are dropped
//           leave     the node drains: the pipeline is told, and goes elsewhere
//           what its process says, from the guardian's thread
//   ends    with whoever borrowed it or the connection to them; with its process, or by an
//           exception out of an order, of which it tells first; where nobody borrows it
//   child   temporary, of the node's job supervisor; detached, because it may compute

#include "actors/node/session.hpp"

namespace viva::actors::node {

struct lent_lane_state {
  session_options options;
  std::shared_ptr<region_store> regions; ///< Null until it is lent.
  std::unique_ptr<lane_peer> work;
  bool ready = false; ///< The pipeline was told so.
  error no_region;    ///< Why there was no memory for one; code ok: there was for all.
  std::size_t out = 0; ///< Frames of orders that its process has.
  std::chrono::milliseconds patience{0}; ///< With them.
  static inline const char* name = "lent_lane";

  ~lent_lane_state();
};

caf::behavior lent_lane(caf::stateful_actor<lent_lane_state>* self, session_options options);

/// What attention's bytes depend on beside its inputs (target, unit, and what comes of a fixed
/// problem): two machines of equal words give equal ones.
std::string attention_words();

} // namespace viva::actors::node
