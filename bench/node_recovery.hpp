#pragma once

// What a lost node costs until its work is done elsewhere. Two node processes of a lane each, which
// share files; the one has a shard in hand that stands still, the other is idle. Then the first is
//
//   killed     SIGKILL: its connections end
//   silent     SIGSTOP: they do not
//
// `again`: from there until the other tells that it has done a shard more, so with the shard
// itself, of 256 KiB. `named`: until the output has its name, which waits for what the lost one
// might still write.

#include "kernels/error.hpp"

#include <cstdint>
#include <functional>
#include <string>

namespace viva::bench {

struct node_recovery_options {
  std::uint32_t rounds = 5; ///< Of each.
};

struct node_recovery_line {
  std::string metric;
  double again_ms = 0, again_ms_max = 0; ///< Median of the rounds; the slowest.
  double named_ms = 0;                   ///< Median.
  double limit_ms = 0;                   ///< What is promised of `again`, but for the shard itself.
};

/// Fails where nodes do not start, or a job fails.
expected<void> measure_node_recovery(const node_recovery_options& options,
                                     const std::function<void(const node_recovery_line&)>& tell);

} // namespace viva::bench
