#pragma once

// Durable: the order of writes and syncs that the whole house stands on, for the journal and for
// whoever simulates it.

#include "actors/journal_file.hpp"
#include "actors/workplace.hpp"

#include <string>
#include <utility>
#include <vector>

namespace viva::actors {

/// Makes all output bytes durable, then the records that vouch for them; `disk_full` as
/// journal_file::append has it. After another error the journal is condemned.
expected<void> make_durable(const workplace& place, journal_file& file,
                            const std::vector<journal_record>& records);

/// Writes the late texts, makes everything durable, gives the output its name.
expected<void> publish_output(const workplace& place,
                              const std::vector<std::pair<placement, std::string>>& late,
                              bool overwrite);

} // namespace viva::actors
