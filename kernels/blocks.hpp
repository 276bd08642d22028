#pragma once

// Plumbing that block formats share: rows of any source type as runs of f32, and where the first
// number that is no number stands.

#include "kernels/convert.hpp"
#include "kernels/dtype.hpp"
#include "kernels/error.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace viva::kernels {

/// Values converted at a time: 16 KiB of f32, half of a 32 KiB first-level cache. A multiple of every
/// block size a format uses.
inline constexpr std::size_t run_values = 4096;

/// Rows whose values fill whole units of `values` values in flat order.
constexpr std::uint64_t rows_filling(std::uint64_t values, std::uint64_t cols) noexcept {
  return cols == 0 ? 1 : values / std::gcd(values, cols);
}

/// `not_finite` with the first flat position, or ok.
inline status check_finite(const matrix& in) noexcept {
  const auto at = first_not_finite(in.data, in.type, in.values());
  return at == in.values() ? status{} : status{errc::not_finite, at};
}

/// Hands the values of `in` to `use(x, first, count)` in flat order, as f32, in runs of at most
/// `run_values`; every run but the last has exactly that many.
template <class Use>
void for_each_run(const matrix& in, Use&& use) {
  alignas(64) float x[run_values];
  for (std::size_t first = 0; first < in.values(); first += run_values) {
    const auto count = std::min(run_values, in.values() - first);
    load_f32(in.data + first * bytes_of(in.type), in.type, count, x);
    use(static_cast<const float*>(x), first, count);
  }
}

} // namespace viva::kernels
