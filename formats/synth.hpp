#pragma once

// Synthetic checkpoints: a llama-shaped model of any size, for demos, tests and benchmarks.
//
// Values look like a trained model's where it matters to a quantizer: near-normal weights of std
// 0.02, rows of different scale, one row in sixteen with heavy tails, norms near 1, and on request
// some input channels 8 to 20 times as large as the others. Every value is a pure function of
// (seed, tensor, row, column), so the bytes depend neither on threads nor on the sharding of the
// generation.

#include "kernels/dtype.hpp"
#include "kernels/error.hpp"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>

namespace viva::formats {

struct synth_options {
  std::filesystem::path output;     ///< A folder, made where it is missing.
  std::uint64_t bytes = 1ull << 30; ///< Of all tensors, met within 2 %; [1 MiB, 4 TiB].
  kernels::dtype dtype = kernels::dtype::bf16;
  std::uint32_t shards = 1; ///< Weight files; more than one come with an index.
  bool outliers = false;
  std::uint64_t seed = 0;
  bool overwrite = false; ///< Replace the checkpoint that is there.
};

/// Writes config.json, generation_config.json and the weights under *.partial names and renames
/// them once they are durable; without success nothing is left behind. `on_progress(bytes done,
/// bytes in all)` is called from the calling thread and may be empty; `interrupted` may be set from
/// a signal handler. Errors: bad_option, output_exists, cannot_write, disk_full, interrupted.
expected<void> synthesize(const synth_options&,
                          std::function<void(std::uint64_t, std::uint64_t)> on_progress,
                          const std::atomic<bool>* interrupted = nullptr);

} // namespace viva::formats
