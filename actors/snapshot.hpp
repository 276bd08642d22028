#pragma once

// Snapshot: what the collector says that all lanes did. Plain values, for reports and doors.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace viva {

struct lane_report {
  std::string id;
  std::uint64_t shards = 0; ///< In a pipeline: tensors.
  std::uint64_t bytes = 0, restarts = 0;
  double busy_seconds = 0, p50_ms = 0, p99_ms = 0, p999_ms = 0; ///< Of a ticket.
  /// Of the largest of its lives, as it said with its last receipt; 0 where it is a thread.
  std::uint64_t peak_rss_bytes = 0;
};

/// One method, over all lanes and lives.
struct method_report {
  std::string name;
  std::uint64_t values = 0, bytes = 0; ///< Of source.
  double busy_seconds = 0;
  /// Of wall time, since the snapshot before (a tenth of a second ago, or longer); 0 while the
  /// collector is younger than that.
  double values_per_s = 0;
};

/// Of tickets, or of tensors in streams.
struct latency_report {
  std::uint64_t count = 0;
  double sum_seconds = 0, p50_ms = 0, p99_ms = 0, p999_ms = 0;
};

/// What stands in line now, and what came of what stood there.
struct queue_report {
  std::uint64_t waiting = 0, running = 0; ///< Tickets now.
  std::uint64_t tickets = 0, tickets_lost = 0, messages = 0;
  std::uint32_t lanes_up = 0;
  std::uint64_t budget_bytes = 0, budget_tickets = 0, submits_waiting = 0; ///< In use now.
  std::uint64_t collector_lives = 0; ///< 1, and one for each time that the collector was restarted.
  latency_report latency; ///< Of tensors in streams, from sent to received.
};

struct snapshot {
  std::vector<lane_report> lanes;
  std::vector<method_report> methods;
  std::uint64_t shards = 0, bytes = 0; ///< Of all lanes.
  latency_report tickets; ///< How long lanes worked on each.
  std::map<std::string, std::uint64_t> deaths; ///< Of lanes, by reason: "exception", "killed", …
  std::uint64_t restarts = 0;
  /// What lanes told; of these, how many were replaced by a newer one before anybody read them.
  std::uint64_t updates = 0, updates_dropped = 0;
  std::optional<queue_report> queue; ///< Of a pipeline.
};

} // namespace viva
