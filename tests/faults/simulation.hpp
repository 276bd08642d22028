#pragma once

// Simulation: one seed is one story of a job, from its first life to its end, told without a clock,
// a thread or a file. The same seed tells the same story.
//
//   lives with faults: lanes die at and between writes, the process is killed at any call, the
//   power fails and takes what was not synced, a sync of a file or of the folder fails, the disk is
//   full and the journal's reserve is too small for what came home, bytes and the journal rot
//   between lives, messages overtake one another, receipts come twice, a lane is slow, lanes die of
//   every batch before they begin it, no isolation lane is to be had for a while, or ever;
//   then a life without faults, which has to end; where shards are poisoned, with exactly those in
//   quarantine; then a last one that pardons them.
//
// Held against it: supervision.md's invariants I1-I8, I12 and I13 as far as one machine has them.
// I6, I7: a shard is committed only by a run that was handed out in this life, to a lane that
// nobody had called dead when its receipt came. I8: in one life of the process a shard is run once,
// once more for each run that was lost with a lane, and once as a copy. No output gets its name
// while a lane is at work, and of a job that has failed the journal knows why.

#include "tests/faults/ground.hpp"

#include <cstdint>
#include <string>

namespace viva::faults {

struct story {
  std::string broken; ///< The first law that was broken; empty where all held.
  std::uint64_t lives = 0, kills = 0, power_cuts = 0, lane_deaths = 0, rotten = 0, quarantined = 0;
  std::uint64_t named_only = 0; ///< Lives that ended between the name and the journal's removal.
  std::uint64_t shards_run = 0, events = 0;
  std::uint64_t left_out = 0; ///< Records that did not fit on a full disk.
  std::uint64_t folder_syncs_failed = 0;
  std::uint64_t copies = 0; ///< Shards that one lane had and another got, too.
};

story simulate(const ground& on, std::uint64_t seed);

/// Stops a job in its midst, then resumes it from its journal cut at every `stride`-th byte. Where
/// its opening is left it must lead to the same output, and less than that must be refused.
/// Answers the first law that was broken, or nothing; `cuts` counts.
std::string resume_from_every_cut(const ground& on, std::uint64_t stride, std::uint64_t& cuts);

} // namespace viva::faults
