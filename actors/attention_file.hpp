#pragma once

// The library's door for attention over a file: q, k and v of one safetensors file through the
// lanes of a pipeline, out and lse into another.
//
//   q         (batch, heads, queries, head_size), (heads, queries, head_size), or
//             (queries, heads * head_size) with `heads` said
//   k, v      the same with kv heads and keys; each F32, F16 or BF16, or encoded by a method
//   names     q, k, v, or q.weight and so on: `viva quantize` encodes k.weight and v.weight of two
//             dimensions, and a compressed cache is read as it lies
//   out       as q;  lse  f32, (batch, heads, queries) or (heads, queries), natural logarithms
//
// The output appears in one rename when it is durable. A job takes seconds and is not resumed.

#include "actors/job.hpp"
#include "kernels/attention.hpp"
#include "kernels/error.hpp"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <string>

namespace viva {

struct attention_spec {
  std::filesystem::path source, output;
  std::size_t heads = 0, kv_heads = 0; ///< Of q, k and v with two dimensions; kv 0: as heads.
  bool causal = false;
  std::size_t window = 0; ///< 0: none.
  float scale = 0;        ///< 0: 1 / sqrt(head_size).
  nan_policy on_nan = nan_policy::fail; ///< keep: out has NaN where it meets one.
  bool overwrite = false;
  std::uint32_t lanes = 0; ///< 0: one for each core; with nodes, of each of them, 0: one.
  isolation lanes_are = isolation::thread; ///< Of this machine.
  /// As job_limits: beyond the mapped source; and what is started as `PROGRAM lane`.
  std::uint64_t memory_bytes_max = 1ull << 30;
  std::filesystem::path lane_program{};
  /// HOST:PORT of nodes that compute instead of this machine, each with its share of k and v.
  std::vector<std::string> nodes{};
  std::filesystem::path tls{}; ///< Folder of certificates (`viva certs`); empty: none.
  bool insecure = false;       ///< Nodes beyond this machine without certificates.
  /// Without any node for so long it fails, for it is not resumed; 0: it waits.
  std::uint32_t node_timeout_seconds = 60;
};

struct attention_report {
  kernels::attention::shape of;
  kernels::dtype type = kernels::dtype::f32;
  std::string k_method, v_method; ///< Empty: plain.
  std::uint32_t lanes = 0, key_ranges = 1;
  std::uint64_t tickets = 0, tickets_lost = 0, restarts = 0;
  double seconds = 0; ///< From the first ticket to the last.
};

/// Lanes that are processes map the source themselves; what is encoded is copied for them. Errors
/// besides those of the file: over_budget, before any work, where that and the result need more
/// memory than there may be.
/// Where `interrupted` becomes true before the answer is there, nothing is written and the error is
/// errc::interrupted.
expected<attention_report> run_attention(const attention_spec&,
                                         const std::atomic<bool>* interrupted = nullptr);

} // namespace viva
