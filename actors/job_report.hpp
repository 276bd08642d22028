#pragma once

// Job report: what a job came to, tensor by tensor, from its plan and its outcome.

#include "actors/plan.hpp"
#include "actors/receipt.hpp"
#include "actors/snapshot.hpp"

namespace viva::actors {

/// What a run brings back, whatever the job was.
struct run_result {
  job_outcome outcome;
  snapshot meters;
  double seconds = 0;
};

/// Of a dry run where `run` is null.
job_report report_of(const plan& work, const run_result* run, const std::filesystem::path& output);

} // namespace viva::actors
