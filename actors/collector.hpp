#pragma once

// Collector: adds up what all lanes did.
//
//   hears   take_snapshot   -> snapshot
//   child   permanent, of the root; it holds no state but the board, so a restart loses nothing

#include "actors/messages.hpp"
#include "actors/meter.hpp"

#include <caf/event_based_actor.hpp>

namespace viva::actors {

snapshot read_meters(const meter_board& board);

caf::behavior collector(caf::event_based_actor* self, std::shared_ptr<const meter_board> board);

} // namespace viva::actors
