#pragma once

// Node site: a job as a node has it, from what its coordinator says: the same plan made again, the
// same files opened by the same names, nothing made.

#include "actors/messages.hpp"
#include "actors/node/letters.hpp"
#include "actors/node/session.hpp"

namespace viva::actors::node {

/// Refuses paths outside the roots, faults that are not allowed, an output that is not on the file
/// system the coordinator writes to, and a source that makes another plan.
expected<site_ptr> open_site(const assign& what, const node_facts& facts);

} // namespace viva::actors::node
