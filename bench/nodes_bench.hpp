#pragma once

// What moves between nodes, timed over loopback, both ends in this process, frames of 1 MiB, at
// most 8 unanswered:
//
//   raw          Asio's blocking calls, head and body gathered, from memory to memory: the bound
//   raw_stream   … bodies alone: send and receive of 1 MiB, no head and no answer
//   raw_files    … each body read from a file before and written to one after: the same work
//   put, get     the bulk path, from file to file, checksums at both ends
//   put_tls, get_tls   … in TLS 1.3
//
// Files are in memory, so no disk is measured.

#include "kernels/error.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace viva::bench {

struct nodes_bench_options {
  std::uint32_t mebibytes = 1024; ///< Of one round.
  std::uint32_t rounds = 5;
};

struct nodes_line {
  std::string metric;
  double mb_per_s = 0;     ///< Median of the rounds; 10^6 bytes.
  double deviation = 0;    ///< Median absolute deviation of it.
  double cpu_s_per_gb = 0; ///< Of both ends, all threads; 10^9 bytes.
  double to_raw = 0;       ///< mb_per_s against that of raw.
  std::optional<double> to_raw_files{}; ///< … of raw_files; none before it was measured.
};

/// Fails where loopback or memory fails.
expected<void> measure_nodes(const nodes_bench_options& options,
                             const std::function<void(const nodes_line&)>& tell);

} // namespace viva::bench
