#pragma once

// Tensor lane: one thread that runs the units of a pipeline, one at a time.
//
//   hears   next_unit   one a unit: from the desk where it slept, from itself where more waits
//   ends    when stopped; by any exception out of a unit, on purpose: its supervisor restarts it
//   child   permanent, of the pipeline's lane supervisor; detached, because it computes

#include "actors/meter.hpp"
#include "actors/pipeline/desk.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/event_based_actor.hpp>

#include <memory>

namespace viva::actors {

struct next_unit {};

struct tensor_lane_place {
  std::size_t index = 0;
  std::uint64_t life = 0;
  std::shared_ptr<desk> work;
  std::shared_ptr<lane_meter> meter;
  std::shared_ptr<std::atomic<bool>> condemned; ///< Set by whoever wants this life to end.
};

caf::behavior tensor_lane(caf::event_based_actor* self, tensor_lane_place place);

} // namespace viva::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::next_unit)
