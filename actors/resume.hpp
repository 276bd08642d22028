#pragma once

// Resume: what of an earlier life of a job still holds. The journal's word for a shard is not
// taken: its bytes are hashed again, on as many threads as the job has lanes.

#include "actors/journal_file.hpp"
#include "actors/plan.hpp"
#include "actors/workplace.hpp"

#include <atomic>

namespace viva::actors {

/// Moves shards whose bytes are not what the journal says from `done` to `damaged`, and forgets
/// records of shards that the plan does not have. Refuses an output that has its name and is not
/// all of what the journal says. `interrupted` may be null.
expected<void> verify_earlier(earlier_run& earlier, const plan& work, const workplace& place,
                              std::uint32_t threads, const std::atomic<bool>* interrupted);

/// Takes back, on record, what the journal says of damaged shards. Were it to stand and their next
/// sync to fail, a later life would read good bytes that never reached the disk, and believe both.
expected<void> forget_damaged(const earlier_run& earlier, journal_file& journal);

/// Takes every shard out of quarantine, on record: they may run again.
expected<void> pardon(earlier_run& earlier, journal_file& journal);

} // namespace viva::actors
