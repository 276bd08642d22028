#pragma once

// How planes of flat blocks are shaped: blocks are counted in flat order and may cross rows.

#include "kernels/registry.hpp"

#include <algorithm>
#include <numeric>

namespace viva::kernels {

/// Rows whose values fill whole units of `values` values, counted in flat order.
constexpr std::uint64_t rows_filling(std::uint64_t values, std::uint64_t cols) noexcept {
  return cols == 0 ? 1 : values / std::gcd(values, cols);
}

constexpr std::size_t blocks_in(std::size_t values, std::size_t block) noexcept {
  return (values + block - 1) / block;
}

/// Calls body(b, first, count) for each block of `values` values; the last may be short.
template <class Body>
void for_each_block(std::size_t values, std::size_t block, Body&& body) {
  for (std::size_t b = 0, first = 0; first < values; ++b, first += block)
    body(b, first, std::min(block, values - first));
}

/// The one-plane geometry of a GGUF format: `bytes` for every `values` values of a row.
constexpr geometry ggml_geometry(std::uint32_t values, std::uint32_t bytes) noexcept {
  return {.planes = {plane{"blocks", plane::unit_kind::values, values, bytes}}, .planes_count = 1};
}

} // namespace viva::kernels
