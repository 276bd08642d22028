#pragma once

// Scheduler: CAF's, for many small actors that are started, killed and talked to.
//
// Two things of CAF 0.17's own make a supervisor slow, and differ here:
//   - Its workers take the newest job first and search the whole queue for the oldest when they
//     steal. Two actors that answer each other starve the rest, and a hundred thousand waiting
//     children cost a hundred thousand steps each. Here jobs wait in one queue, first come first
//     served, as Erlang's do.
//   - It tells its clock's thread about every actor's death, through a ring of 64 places. Here a
//     death is passed on only where the actor ever set a timeout.

#include <caf/fwd.hpp>

namespace viva::supervision {

/// Before the actor system is made from `config`; `scheduler.policy` is without effect then. For a
/// control plane of few threads: they share one lock.
void use_fair_scheduler(caf::actor_system_config& config);

} // namespace viva::supervision
