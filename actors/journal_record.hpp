#pragma once

// Journal records: what a job remembers, as plain values.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace viva::actors {

/// Words of people and of systems, cut so that they fit into a journal's reserve.
inline std::string cut_words(const std::string& words) {
  constexpr std::size_t bytes_max = 1024;
  return words.size() <= bytes_max ? words : words.substr(0, bytes_max) + "...";
}

/// A shard whose output bytes are durable.
struct done_record {
  std::uint32_t shard = 0;
  std::uint64_t checksum = 0; ///< xxh3-64 over the shard's output bytes, plane after plane.
  std::string findings;       ///< error_sums or survey, as bytes; empty where there are none.
  std::uint32_t run = 0; ///< ticket::run of what came home, counted anew in each process.
};

/// A lane died at work on this shard.
struct strike_record {
  std::uint32_t shard = 0;
  std::string reason;
  std::uint32_t run = 0; ///< ticket::run that died; it cannot come home any more.
};

/// The shard is not run again: the isolation lane died on it, too.
struct quarantine_record {
  std::uint32_t shard = 0;
  std::string place; ///< "'tensor': rows 0 to 64", for those who have no plan.
  std::vector<std::string> reasons{}; ///< Of the lanes that died on it, the last ones, in order.
  /// xxh3-64 over the source bytes that the shard reads, as they were when this was written; 0
  /// where they could not be read.
  std::uint64_t source_checksum = 0;
};

/// What was known of the shard is forgotten, on demand or because it is untrue: it may run again.
struct pardon_record {
  std::uint32_t shard = 0;
};

/// The output is whole and gets its name now: where OUT is this very file or folder it has it, and
/// only tidying up is left.
struct naming_record {
  std::uint64_t device = 0, inode = 0; ///< Of OUT.partial.
  bool replaces = false; ///< OUT.partial is then the older output, to be removed.
};

/// A life of the job ended with this problem; the last that it writes. One that is killed writes
/// none.
struct closing_record {
  std::string code; ///< An errc by its name.
  std::string words;
};

using journal_record = std::variant<done_record, strike_record, quarantine_record, pardon_record,
                                    naming_record, closing_record>;

/// Where the whole frames of a journal end, and what the next one continues.
struct journal_end {
  std::uint64_t bytes = 0; ///< 0: start anew.
  std::uint64_t seq = 0;   ///< Of the next frame.
  std::uint32_t life = 0;  ///< Of the last frame.
};

/// What OUT.partial and OUT.journal hold of an earlier life of this very job.
struct earlier_run {
  std::vector<done_record> done;
  std::vector<strike_record> strikes;         ///< Of shards that are not done, in order.
  std::vector<quarantine_record> quarantined; ///< Not done, not pardoned.
  std::vector<done_record> damaged; ///< Journaled as done, but their bytes are not there.
  std::optional<naming_record> named; ///< OUT is this job's whole output already.
  journal_end journal;
};

} // namespace viva::actors
