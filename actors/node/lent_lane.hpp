#pragma once

// Lent lane: a lane of a node, lent to a pipeline of another machine. It does what a lane process
// does for one (pipeline/tensor_ward.hpp), in regions whose bytes come and go over the bulk path.
//
//   hears   letters   lend, then frames; those of another stamp are dropped
//           leave     the node drains: the pipeline is told, and goes elsewhere
//   ends    with whoever borrowed it or the connection to them; by an exception out of an order,
//           of which it tells first; where nobody borrows it
//   child   temporary, of the node's job supervisor; detached, because it computes

#include "actors/node/region_store.hpp"
#include "actors/node/session.hpp"
#include "actors/pipeline/tensor_ward.hpp"

namespace viva::actors::node {

struct lent_lane_state {
  session_options options;
  std::shared_ptr<region_store> regions; ///< Null until it is lent.
  std::unique_ptr<tensor_ward> work;
  std::uint64_t mark = 0; ///< The order that it executes, or the last one.
  static inline const char* name = "lent_lane";

  ~lent_lane_state();
};

caf::behavior lent_lane(caf::stateful_actor<lent_lane_state>* self, session_options options);

/// What attention's bytes depend on beside its inputs: two machines of equal words give equal ones.
std::string attention_words();

} // namespace viva::actors::node
