#pragma once

// Every message between the actors of a job, in the order a job meets them. All are local: they
// carry pointers to what the job owns, never tensor bytes.
//
//   door       → conductor   run_job              answered by job_outcome, exactly once
//   conductor  → lane        batch                answered by batch_receipt
//   conductor  → journal     commit, publish      requests; answered by journal_answer
//   door       → conductor   stop_job, fail_job    no more tickets; job_outcome follows
//   anybody    → collector   take_snapshot        answered through its promise (collector.hpp)
//
// A healthy job costs two messages for each batch, and two for each commit. A shard of usual size
// is a batch of its own; small ones travel together.

#include "actors/job.hpp"
#include "actors/journal_file.hpp"
#include "actors/job_policy.hpp"
#include "actors/plan.hpp"
#include "actors/receipt.hpp"
#include "actors/workplace.hpp"
#include "kernels/metrics.hpp"

#include <caf/actor.hpp>
#include <caf/allowed_unsafe_message_type.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace viva::actors {

/// What all who work on one job share: the plan and the open files, never changed, and counters.
struct job_site {
  plan work;
  workplace place;
  fault_plan faults;
  bool overwrite = false;
  std::string assignment{}; ///< By which a lane process plans the same job (assignment.hpp).
  mutable std::atomic<std::uint32_t> tickets_started{0};
  mutable std::atomic<std::uint64_t> bytes_done{0}, shards_done{0};

  job_site(plan p, workplace w, fault_plan f, bool replace)
    : work(std::move(p)), place(std::move(w)), faults(f), overwrite(replace) {
  }
};
using site_ptr = std::shared_ptr<const job_site>;

struct run_job {
  caf::actor answer_to;
};

/// The shard a lane works on at this moment, or no_shard: what its death is blamed on.
using lane_mark = std::shared_ptr<std::atomic<std::uint32_t>>;

struct batch {
  site_ptr site;
  std::uint64_t number = 0; ///< Among the batches of its job.
  std::vector<shard_task> tasks;
  lane_mark mark;
  caf::actor conductor;
};

struct commit {
  site_ptr site;
  std::vector<journal_record> records;
};

struct publish {
  site_ptr site;
  std::vector<std::pair<placement, std::string>> late; ///< Texts that waited for their numbers.
};

struct journal_answer {
  error problem;
  std::vector<journal_record> left_out{}; ///< Of a commit: what is not durable, the disk is full.
};

struct stop_job {};
/// As stop_job, and the job has this problem.
struct fail_job {
  error why;
};
struct commit_tick {};

} // namespace viva::actors

#define VIVA_LOCAL_MESSAGE(type) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::type)
VIVA_LOCAL_MESSAGE(run_job)
VIVA_LOCAL_MESSAGE(batch)
VIVA_LOCAL_MESSAGE(batch_receipt)
VIVA_LOCAL_MESSAGE(commit)
VIVA_LOCAL_MESSAGE(publish)
VIVA_LOCAL_MESSAGE(journal_answer)
VIVA_LOCAL_MESSAGE(stop_job)
VIVA_LOCAL_MESSAGE(fail_job)
VIVA_LOCAL_MESSAGE(commit_tick)
VIVA_LOCAL_MESSAGE(job_outcome)
#undef VIVA_LOCAL_MESSAGE
