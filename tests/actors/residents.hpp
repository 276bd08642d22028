#pragma once

// A resident tensor for tests: several shards for each of two lanes, and lanes that all die.

#include "tests/actors/tensors.hpp"

#include <cstdint>
#include <span>

namespace viva::testing {

inline constexpr std::uint64_t resident_rows = 3000, resident_cols = 1024;
inline constexpr std::uint64_t resident_values = resident_rows * resident_cols;

inline tensor_view wide(std::span<const float> values) {
  return matrix_of(values, resident_cols);
}

inline encoded whole(const char* words, std::span<const float> values) {
  return matrix_by_reference(words, values, resident_cols);
}

/// Every lane dies in its next unit; answers once each has a new life.
inline void kill_all(pipeline& pipe) {
  const auto before = pipe.metrics().restarts;
  const auto values = normal_values(1 << 20, 9);
  for (std::uint32_t lane = 0; lane < pipe.lanes(); ++lane)
    pipe.kill_lane(lane);
  while (pipe.metrics().restarts < before + pipe.lanes())
    CHECK(pipe.quantize(wide(values), int8{}).get().has_value());
}

} // namespace viva::testing
