#include "formats/synth_values.hpp"

#include "formats/dtype_names.hpp"
#include "kernels/convert.hpp"

#include <algorithm>
#include <cmath>

namespace viva::formats {

namespace {

constexpr std::uint64_t golden_gamma = 0x9E3779B97F4A7C15u;

constexpr std::uint64_t mix(std::uint64_t z) noexcept {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// The x with a normal distribution below it of `probability`, by bisection.
double normal_quantile(double probability) {
  double low = -9, high = 9;
  for (int step = 0; step < 60; ++step) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < probability ? low : high) = middle;
  }
  return (low + high) / 2;
}

quantiles make_quantiles(double tail) {
  std::array<double, 4096> exact;
  double square = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    const double z = normal_quantile((static_cast<double>(i) + 0.5) / 4096);
    exact[i] = z * (1 + tail * z * z);
    square += exact[i] * exact[i] / 4096;
  }
  quantiles table;
  for (std::size_t i = 0; i < exact.size(); ++i)
    table[i] = static_cast<float>(exact[i] / std::sqrt(square));
  return table;
}

/// Sixteen small steps that fill the gap between two quantiles near zero, 2.5 / 4096 wide.
constexpr auto steps = [] {
  std::array<float, 16> all{};
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i] = (static_cast<float>(i) - 7.5f) * (2.5f / 4096 / 16);
  return all;
}();

float draw(const quantiles& table, std::uint64_t bits) noexcept {
  return table[bits & 4095] + steps[bits >> 12 & 15];
}

} // namespace

const quantiles& normal_quantiles() {
  static const quantiles table = make_quantiles(0);
  return table;
}

const quantiles& heavy_quantiles() {
  static const quantiles table = make_quantiles(0.2);
  return table;
}

row_source::row_source(const synth_tensor& tensor, std::uint64_t number, std::uint64_t seed,
                       bool outliers)
    : x_what(tensor.what), x_type(*source_type(tensor.entry.dtype)), x_deviation(tensor.deviation),
      x_rows(tensor.entry.shape.size() == 2 ? tensor.entry.shape[0] : 1),
      x_cols(tensor.entry.shape.back()), x_key(mix(mix(seed + golden_gamma) + number)) {
  if (!outliers || x_what != synth_tensor::kind::linear)
    return;
  for (std::uint64_t i = 0; i < std::max<std::uint64_t>(1, x_cols / 200); ++i) {
    const auto bits = mix(~x_key + i * golden_gamma);
    x_outliers.push_back(
        {(bits >> 16) % x_cols, 8.0f + 12.0f * static_cast<float>(bits & 0xFFFF) / 65536.0f});
  }
  std::ranges::sort(x_outliers, {}, &outlier_channel::column);
  const auto twice = std::ranges::unique(x_outliers, {}, &outlier_channel::column);
  x_outliers.erase(twice.begin(), twice.end());
}

std::uint64_t row_source::row_bytes() const noexcept {
  return x_cols * kernels::bytes_of(x_type);
}

void row_source::fill_row(std::uint64_t row, float* out) const {
  const auto key = mix(x_key + row * golden_gamma);
  const bool norm = x_what == synth_tensor::kind::norm;
  const bool heavy = !norm && key % 16 == 0;
  const auto& table = heavy ? heavy_quantiles() : normal_quantiles();
  const float spread =
      norm ? 1.0f : std::max(0.3f, 1.0f + 0.25f * draw(normal_quantiles(), key >> 8));
  const float scale = x_deviation * spread;
  const float centre = norm ? 1.0f : 0.0f;
  std::uint64_t counter = key, i = 0;
  for (; i + 4 <= x_cols; i += 4) {
    const auto bits = mix(counter += golden_gamma);
    for (unsigned k = 0; k < 4; ++k)
      out[i + k] = centre + scale * draw(table, bits >> (16 * k));
  }
  for (auto bits = mix(counter + golden_gamma); i < x_cols; ++i, bits >>= 16)
    out[i] = centre + scale * draw(table, bits);
  for (const auto& outlier : x_outliers)
    out[outlier.column] *= outlier.factor;
}

void row_source::fill(std::uint64_t first, std::uint64_t rows, std::byte* out) const {
  std::vector<float> values(x_cols);
  for (std::uint64_t row = first; row < first + rows; ++row, out += row_bytes()) {
    fill_row(row, values.data());
    kernels::store_f32(values.data(), x_type, x_cols, out);
  }
}

} // namespace viva::formats
