#pragma once

// Many small tensors through viva::pipeline, beside the same kernel on plain threads.
//
// Tensors are normal, signed, each another one, and together larger than any cache. In each round
// run, in turn, over the same source and the same result memory:
//
//   read     all of the source, by as many threads
//   bare     the kernel in a loop, tensor by tensor, by as many plain threads, no actors; each
//            takes some hundred tensors at a time, so that none ends long before the others
//   stream   the pipeline: the clock runs from before the first submit until the last result was
//            received and counted
//   single   the same with one tensor a message, over a part of the tensors
//   CAF      as many actors as lanes send themselves empty messages, the yardstick of `single`
//
// With `measure` the stream runs once more, each result with its mean square and largest error.
//
// Then the stream again while a lane is killed every so many milliseconds (`kill_ms`), in turn with
// undisturbed ones, and at half its rate, open loop, for the latency from the moment a tensor is
// due until its result is received, in batches of 256 (lane processes: 1024), six under way, as a
// caller chooses who cares for latency; in turn with plain threads that take what is due, until it
// is encoded. After each clock of the pipeline or of `bare`, every result is compared with the
// reference's by a 64-bit digest of its planes; and each tensor's number has to come once.

#include "actors/isolation.hpp"
#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace viva::bench {

struct throughput_options {
  std::uint64_t tensors = 1'000'000;
  std::uint64_t values = 512;
  std::string method = "int8";
  std::uint32_t lanes = 2;
  std::uint32_t batch_tensors = 0; ///< Of one message; 0: as the pipeline likes it.
  isolation lanes_are = isolation::thread;
  /// HOST:PORT of nodes that compute instead, with so many lanes each; plain threads are of this
  /// machine, and processor seconds those that the nodes' lanes say.
  std::vector<std::string> nodes{};
  std::filesystem::path tls{};
  bool insecure = false;
  std::uint32_t node_timeout_seconds = 60; ///< As pipeline_options has it.
  bool measure = false; ///< Each result with its error, in a run of its own.
  std::uint32_t kill_ms = 0; ///< 0: no lane is killed.
  double killed_seconds = 3; ///< Of clocked time at least, in which they are.
  std::uint32_t rounds = 5;

  bool are_apart() const { ///< Lanes are not of this process.
    return lanes_are == isolation::process || !nodes.empty();
  }
};

struct throughput_result {
  double wall_s = 0, tensors_per_s = 0; ///< Of the stream; rates are medians of the rounds.
  double bare_per_s = 0, ratio_to_bare = 0;
  double read_gb_s = 0, gb_s = 0; ///< 1e9 bytes of source.
  double tensors_mad = 0, bare_mad = 0; ///< Median absolute deviations of those rates.
  double messages_per_tensor = 0, cpu_s = 0; ///< Of the stream, medians too.
  double single_per_s = 0, single_messages_per_tensor = 0;
  double caf_messages_per_s = 0; ///< Empty, by as many actors, to themselves: no tensors.
  double killed_per_s = 0, killed_ratio = 0; ///< 0 where no lane was killed.
  std::uint64_t restarts = 0; ///< Of all runs.
  std::uint64_t killed_restarts = 0, tickets_lost = 0; ///< Where lanes were killed.
  double p50_us = 0, p99_us = 0; ///< At half of tensors_per_s; medians of the rounds.
  double bare_p50_us = 0, bare_p99_us = 0; ///< Of plain threads at the same pace.
  double measured_per_s = 0;     ///< 0 where nothing was measured.
  double snr_db_mean = 0, snr_db_least = 0, max_error = 0; ///< Over all tensors.
  std::uint64_t results_checked = 0, results_wrong = 0;
};

/// Refuses words that are no method, and sizes that the method or the memory cannot take.
expected<throughput_result> measure_throughput(const throughput_options&);

/// One JSON object in one line.
std::string to_json_line(const throughput_options&, const throughput_result&);
std::string to_table(const throughput_options&, const throughput_result&);

} // namespace viva::bench
