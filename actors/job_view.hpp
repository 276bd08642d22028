#pragma once

// Job view: what can be told of jobs from outside: of running ones by their doors, of any by what
// stands beside its output.

#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace viva {

/// One JSON document (job_door.hpp) for each running job of this user that opened its door.
std::vector<std::string> look_into_jobs();

enum class job_state : std::uint8_t {
  done,        ///< OUT stands under its final name.
  running,     ///< A process works on it.
  interrupted, ///< Nobody does; what is durable is kept.
  failed,      ///< As above, and something is to be mended first: `ended`, or shards in quarantine.
  untrusted,   ///< OUT.partial without a journal: nothing in it can be believed.
};

/// A shard that killed lanes.
struct struck_shard {
  std::uint32_t shard = 0;
  bool quarantined = false;
  std::string place;                ///< "'tensor': rows 0 to 64"; empty before quarantine.
  std::vector<std::string> reasons; ///< Of each lane that died on it, in order.
  /// xxh3-64 of the source bytes that it reads; 0 before quarantine, and where they could not be
  /// read.
  std::uint64_t source_checksum = 0;
};

struct job_status {
  job_state state = job_state::done;
  std::uint64_t shards_durable = 0;
  std::uint64_t shards_total = 0;   ///< 0: not known.
  std::uint32_t lives = 0;          ///< Processes that worked on it, where its journal is there.
  std::vector<struck_shard> struck; ///< By number.
  /// How its last life ended without its output: an errc's name, and the words that were said.
  /// Empty where it was killed, or runs.
  std::string ended, why;
  std::uint64_t torn_bytes = 0;     ///< Of a record that a crash cut off; they are ignored.
  std::map<std::string, std::string> fingerprint; ///< The job as its journal describes it.
  std::string next;                 ///< What to do now, as a sentence.
};

/// Reads OUT.journal and looks at what is beside it; changes nothing. Refuses where there is no
/// trace of a job, and where the journal is damaged.
expected<job_status> status_of(const std::filesystem::path& output);

} // namespace viva
