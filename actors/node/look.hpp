#pragma once

// Look: how nodes are, for whoever asks. The library's door for `viva nodes`.

#include "actors/job.hpp"

#include <functional>

namespace viva {

struct node_view {
  std::string address;
  std::string problem; ///< Why there is nothing below; empty: it answered.
  std::string host, build;
  std::uint32_t pid = 0;
  std::uint32_t lanes = 0;
  std::uint32_t jobs = 0;        ///< Coordinators that it works for now.
  std::uint64_t restarts = 0;    ///< Of its lanes, since it began.
  std::uint64_t shards = 0;      ///< That its lanes did.
  /// Connections to the ports of bytes and of life that were closed: for having no certificate of
  /// ours or no hello; for what was no frame. Those to its first port are CAF's, and not counted.
  std::uint64_t strangers = 0, garbage = 0;
  std::uint64_t fenced = 0; ///< Times that its lanes had to leave shared files alone.
  double up_seconds = 0;
  bool same_build = false; ///< As this program.
};

/// Asks the nodes that `limits` names, one after the other, each for some seconds at most. Fails
/// where an address is none, or needs certificates that were not named.
expected<std::vector<node_view>> look_at_nodes(const job_limits& limits);

/// Seconds from a question to its answer, `times` times on one connection to the first of them.
expected<std::vector<double>> time_questions(const job_limits& limits, std::uint32_t times);

/// Asks the first of them on one connection, over and over, for as long as `again` wants to know.
/// Fails where it does not answer.
expected<void> watch_node(const job_limits& limits,
                          const std::function<bool(const node_view&)>& again);

} // namespace viva
