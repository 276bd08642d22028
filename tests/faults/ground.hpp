#pragma once

// Ground: the small job that simulations disturb, and what an undisturbed run of it gives.

#include "actors/plan.hpp"
#include "kernels/metrics.hpp"
#include "tests/faults/simulated_disk.hpp"
#include "tests/support/temporary_folder.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace viva::faults {

inline constexpr const char* output_name = "out";

struct ground {
  using extent = std::pair<std::uint64_t, std::uint64_t>; ///< Offset and bytes.
  tests::temporary_folder folder; ///< Holds the source, the only real file.
  actors::plan work;
  std::string truth;                        ///< Every byte of the output.
  std::vector<std::vector<extent>> extents; ///< By shard: what it writes.
  std::vector<std::optional<kernels::metrics>> errors; ///< By tensor.

  /// Six tensors of 8 KiB, quantized by `method` in shards of 2 KiB, and run once without faults.
  /// Throws where that fails.
  explicit ground(const std::string& method);
};

} // namespace viva::faults
