// Parts over ranges of keys, put together by their log-sum-exp.

#include "kernels/attention.hpp"
#include "kernels/convert.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace viva::kernels::attention {

namespace {

constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// The log-sum-exp of all parts of a row.
double merged_lse(std::span<const part> parts, std::size_t row) noexcept {
  float max = minus_infinity;
  for (const auto& each : parts) {
    if (std::isnan(each.lse[row]))
      return static_cast<double>(each.lse[row]);
    max = std::max(each.lse[row], max);
  }
  if (max == minus_infinity)
    return static_cast<double>(max);
  double sum = 0;
  for (const auto& each : parts)
    sum += std::exp(static_cast<double>(each.lse[row]) - static_cast<double>(max));
  return static_cast<double>(max) + std::log(sum);
}

} // namespace

void merge(std::span<const part> parts, std::size_t rows, std::size_t head_size, std::byte* out,
           dtype type, float* lse) noexcept {
  std::array<double, 256> total;
  std::array<float, 256> result;
  for (std::size_t row = 0; row < rows; ++row) {
    const double whole = merged_lse(parts, row);
    std::fill_n(total.begin(), head_size, 0.0);
    for (const auto& each : parts) {
      if (each.lse[row] == minus_infinity)
        continue; // saw no key; 0 times its zeros would also do, but not with a whole of -inf
      const double weight = std::exp(static_cast<double>(each.lse[row]) - whole);
      const float* from = each.out + row * head_size;
      for (std::size_t c = 0; c < head_size; ++c)
        total[c] += weight * static_cast<double>(from[c]);
    }
    for (std::size_t c = 0; c < head_size; ++c)
      result[c] = static_cast<float>(total[c]);
    store_f32(result.data(), type, head_size, out + row * head_size * bytes_of(type));
    if (lse != nullptr)
      lse[row] = static_cast<float>(whole);
  }
}

} // namespace viva::kernels::attention
