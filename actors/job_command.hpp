#pragma once

// Job commands: what a job's policy wants done (job_policy.hpp), for whoever can do it.

#include "actors/journal_record.hpp"
#include "actors/plan.hpp"
#include "actors/receipt.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace viva::actors {

struct hand_out {
  std::string lane;
  std::uint64_t number = 0; ///< Among the batches of its job.
  std::vector<shard_task> tasks;
};
struct save {
  std::vector<journal_record> records;
};
struct give_name {
  std::vector<std::pair<placement, std::string>> late; ///< Texts that waited for their numbers.
};
struct open_isolation {};
struct end_lane {
  std::string lane; ///< A process. It is told as down when it has ended, and not started again.
};
struct give_answer {
  job_outcome outcome;
};
using command
  = std::variant<hand_out, save, give_name, open_isolation, end_lane, give_answer>;

} // namespace viva::actors
