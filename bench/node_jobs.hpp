#pragma once

// What a cluster on one host costs: a question to a node and back, and whole jobs over one, two and
// four node processes with a lane each, beside the same job on two lanes of this process's own.
//
//   control        hello to welcome on a connection that is there
//   job_local      quantize, two lane processes of this machine
//   job_1, _2, _4  … over so many nodes, source and output streamed
//   job_2_shared   … over two that see the files

#include "kernels/error.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace viva::bench {

struct node_jobs_options {
  std::uint32_t mebibytes = 512;  ///< Of source.
  std::uint32_t rounds = 3;
  std::uint32_t questions = 2000;
  std::string method = "nf4";
};

struct control_line {
  double median_us = 0, p99_us = 0;
};
struct node_job_line {
  std::string metric;
  double mb_per_s = 0, deviation = 0; ///< Of source; median of the rounds, and of its deviations.
  double cpu_s_per_gb = 0;            ///< Of everybody, nodes' lanes among them.
  double to_local = 0;                ///< mb_per_s against job_local's.
};

/// Fails where nodes do not start, or a job fails or makes other bytes than job_local did.
expected<void> measure_node_jobs(const node_jobs_options& options,
                                 const std::function<void(const control_line&)>& tell_control,
                                 const std::function<void(const node_job_line&)>& tell_job);

} // namespace viva::bench
