#pragma once

// Lane answers: what who speaks for a lane elsewhere (a process, another machine) believes of it.

#include "actors/lane_frames.hpp"
#include "actors/messages.hpp"
#include "actors/meter.hpp"

#include <string>

namespace viva::actors {

/// The fault that is due for a ticket, if any.
lane_fault fault_of(const job_site& site, const shard_task& task);

/// Null where the receipts are those of this batch: its tasks in order, all or up to a problem, and
/// findings that make sense. Else what is wrong.
const char* refuse(const batch& work, const work_receipts& all);

/// What the conductor is told of receipts that were not refused; the meter has them noted and told.
batch_receipt believed(const std::string& lane, const batch& work, const work_receipts& all,
                       lane_meter& meter);

} // namespace viva::actors
