#pragma once

// Node site: a job as a node has it, from what its coordinator says: the same plan made again, and
// the same files opened by the same names, or copies of them (dock.hpp).

#include "actors/messages.hpp"
#include "actors/node/dock.hpp"
#include "actors/node/letters.hpp"
#include "actors/node/session.hpp"

namespace viva::actors::node {

/// On the files that the coordinator has. Refuses paths outside the roots, faults that are not
/// allowed, an output that is not on the file system the coordinator writes to, and a source that
/// makes another plan. `right`: until when lanes may write.
expected<site_ptr> open_site(const assign& what, const node_facts& facts, lease_ptr right);

/// On copies, whose seeds are there. Refuses faults that are not allowed, and another plan.
expected<site_ptr> open_site(const assign& what, const node_facts& facts, dock& at);

} // namespace viva::actors::node
