#pragma once

// Journal: the only one who commits.
//
//   hears   commit     output bytes made durable, then the records; -> journal_answer
//           publish    late texts, sync, rename to the final name;  -> journal_answer
//   child   permanent, first of the root; detached, because it waits for the disk

#include "actors/messages.hpp"

#include <caf/event_based_actor.hpp>

namespace viva::actors {

/// `file` is null for jobs that write nothing; such jobs send neither message.
caf::behavior journal(caf::event_based_actor* self, std::shared_ptr<journal_file> file);

} // namespace viva::actors
