#pragma once

// Collector: adds up what all lanes did, for jobs and for pipelines.
//
//   hears   take_snapshot   answers through the promise in it, so that plain threads can wait
//   child   permanent, after all others: its end ends nobody else, and what it knew is on the
//           board, where its successor reads it again
//
// It asks nobody and nobody waits for it: lanes tell their totals to the board (meter.hpp).

#include "actors/meter.hpp"
#include "actors/snapshot.hpp"
#include "supervision/child.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/event_based_actor.hpp>

#include <functional>
#include <future>
#include <memory>
#include <optional>

namespace viva::actors {

struct take_snapshot {
  std::shared_ptr<std::promise<snapshot>> to; ///< Broken where nobody will answer.
};

/// What stands beside the meters: queues, budgets. Must wait for nobody.
using gauge_function = std::function<queue_report()>;

/// Everything but rates, which need two looks.
snapshot read_meters(const meter_board& board);
latency_report report_of(const latency_histogram&);

caf::behavior collector(caf::event_based_actor* self, std::shared_ptr<const meter_board> board,
                        gauge_function gauges);

/// The collector under a supervisor of its own, so that however often it ends nobody else does.
/// `on_start` is told each life's handle, and must keep no other.
supervision::child_spec meters_child(std::shared_ptr<const meter_board> board,
                                     gauge_function gauges,
                                     std::function<void(caf::actor)> on_start);

/// For plain threads: asks whoever is the collector, and the next one where it ends meanwhile.
/// Nothing where there is none for five seconds.
std::optional<snapshot> ask_collector(const std::function<caf::actor()>& who);

} // namespace viva::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::take_snapshot)
