#pragma once

// Lane: one thread that works on shards, one at a time.
//
//   hears   batch         -> batch_receipt to the conductor named in it
//           site_gone     as ports do; it holds nothing
//   ends    when stopped; by any exception out of a shard, on purpose: its supervisor restarts it;
//           `fenced`, where what it works on is another's by now
//   child   permanent, of the lane supervisor; detached, because a shard blocks on files

#include "actors/messages.hpp"
#include "actors/meter.hpp"

#include <caf/event_based_actor.hpp>

#include <string>

namespace viva::actors {

/// What a shard was, for meters: by its method where it encodes or decodes, else by its task.
work_note note_of(const plan&, const shard&, std::chrono::nanoseconds took);

caf::behavior lane(caf::event_based_actor* self, std::string id,
                   std::shared_ptr<lane_meter> meter);

/// "fault put in on purpose at SECONDS", by the wall clock: for whoever measures how soon it is
/// noticed.
std::string fault_put_in();

} // namespace viva::actors
