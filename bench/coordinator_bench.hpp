#pragma once

// What a coordinator costs beyond this machine: the policy of a real job (actors/job_policy.hpp)
// with a thousand nodes' lanes and a million shards, each handed out, brought home and written into
// a journal, and its two letters (actors/node/letters.hpp) written and read as a link does, what
// lanes tell of their errors looked at. Lanes and connections are left out: one thread, which waits
// for its disk alone.

#include "kernels/error.hpp"

#include <cstdint>

namespace viva::bench {

struct coordinator_options {
  std::uint32_t nodes = 1000, lanes_per_node = 2, shards = 1'000'000;
  bool encoded = true; ///< To nf4, with the errors of each; else copied, which tell nothing.
};

struct coordinator_cost {
  double us_per_shard = 0;      ///< Processor time.
  double bytes_per_shard = 0;   ///< Resident memory that the plan and the policy took.
  double journal_bytes = 0;     ///< Per shard, what is kept free for its last records included.
  double messages = 0;          ///< Per shard, both ways.
  double letter_bytes = 0;      ///< … of their letters.
  std::uint64_t shards_done = 0;
};

/// Fails where the journal cannot be written.
expected<coordinator_cost> measure_coordinator(const coordinator_options& options);

} // namespace viva::bench
