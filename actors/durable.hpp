#pragma once

// Durable: the order of writes and syncs that the whole house stands on, for the journal and for
// whoever simulates it.

#include "actors/journal_file.hpp"
#include "actors/workplace.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace viva::actors {

/// Makes all output bytes durable, then the records that vouch for them; `disk_full` and `left_out`
/// as journal_file::append has them. After another error the journal is condemned. Records of
/// quarantine get the checksum of their source.
expected<void> make_durable(const plan& work, const workplace& place, journal_file& file,
                            std::vector<journal_record> records,
                            std::vector<journal_record>& left_out);

/// Writes down why the job ended without its output; not into a journal that is not sound. Behind
/// it this life writes nothing more.
void note_end(journal_file& file, const error& why);

/// The steps of giving the output its name, each after it is done. Stopped after any of them, the
/// same command goes on from there.
enum class naming_step : std::uint32_t { recorded = 1, named = 2, replaced_removed = 3 };

/// Writes the late texts, makes everything durable, notes in the journal that the name is given,
/// gives it, removes what it replaced and the journal. Where an earlier life came as far as the
/// name, only the rest. `reached` is told each step.
expected<void> publish_output(const workplace& place, journal_file& file,
                              const std::vector<std::pair<placement, std::string>>& late,
                              bool overwrite,
                              const std::function<void(naming_step)>& reached);

} // namespace viva::actors
