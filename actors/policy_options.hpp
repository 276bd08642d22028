#pragma once

// Policy options: what a job's policy (job_policy.hpp) is told of the job, and of lanes that end.

#include <cstdint>
#include <string>

namespace viva::actors {

inline constexpr const char* isolation_lane = "isolation"; ///< Its id among the lanes.

inline constexpr std::uint32_t no_shard = ~0u;

/// What becomes of lanes with runs that lost, before the output gets its name.
enum class losers : std::uint8_t {
  awaited,  ///< They are threads, which nobody can end.
  ended,    ///< They are processes.
  harmless, ///< They write elsewhere: in a node's scratch (claims.hpp).
};

struct policy_options {
  std::uint32_t strikes_max = 3;             ///< Lanes that may die on a shard before isolation.
  std::uint32_t device_deaths_max = 2;       ///< On a shard, before the processor's turn.
  std::uint32_t quarantine_max = 64;         ///< More of them end the job at once; 0: the first.
  std::uint32_t credit_per_lane = 2;         ///< Batches: one running, one waiting at its door.
  std::uint64_t batch_bytes_max = 256 << 10; ///< Of source; a larger shard travels alone.
  std::uint64_t unsaved_bytes_max = 32 << 20; ///< Of findings; beyond it no lane gets more.
  std::uint32_t interrupt_after = 0;         ///< fault_plan::interrupt_after
  /// Ends of one lane without a strike, while nothing comes home from anybody; more end the job.
  std::uint32_t lane_ends_max = 200;
  std::uint32_t isolation_ticks_max = 40; ///< Without that lane, although asked for: 10 s.
  std::uint32_t isolation_away_ticks_max = 480; ///< … whatever the reason: two minutes.
  /// Without any lane; longer than a device takes to start. 0: for ever.
  std::uint32_t away_ticks_max = 480;
  /// Late shards run twice. Only where no lane can write into the output after the job: one of a
  /// node that shares its files may, perhaps of a source that is not the same any more.
  bool copies = true;
  losers lost_runs = losers::awaited;
};

/// How a lane ended, in the words of whoever watched it.
struct lane_death {
  std::uint32_t died_on = no_shard; ///< What it was at work on.
  bool blames_shard = true;         ///< False where it was stopped, or its own surroundings failed.
  std::string reason;
  bool of_device = false; ///< The device that computed the shard broke.
  bool refuses = false;   ///< It will not do what it was at work on, and no other will.
};

} // namespace viva::actors
