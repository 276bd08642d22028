#pragma once

// The values of synthetic tensors, row by row, from a counter-based generator: splitmix64 (Steele,
// Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) keyed by seed, tensor
// and row, 16 bits a value, through a table of normal quantiles.

#include "formats/synth_model.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace viva::formats {

/// 4096 quantiles of a unit normal, or of the same with its tails pulled out (still of unit
/// variance): z (1 + 0.2 z^2), scaled. The largest are 3.7 and 6.7 deviations.
using quantiles = std::array<float, 4096>;
const quantiles& normal_quantiles();
const quantiles& heavy_quantiles();

/// Input channels of a tensor that stand out, and by how much: about 0.5 % of the columns, at least
/// one.
struct outlier_channel {
  std::uint64_t column;
  float factor;
};

/// The generator of one tensor. Thread-safe: `fill` changes nothing.
class row_source {
public:
  /// `number` is the tensor's place in its model.
  row_source(const synth_tensor& tensor, std::uint64_t number, std::uint64_t seed, bool outliers);

  /// Writes `rows` rows from `first` to `out` in the tensor's type; 1-D tensors are one row.
  void fill(std::uint64_t first, std::uint64_t rows, std::byte* out) const;

  std::uint64_t rows() const noexcept {
    return x_rows;
  }
  std::uint64_t row_bytes() const noexcept;

private:
  void fill_row(std::uint64_t row, float* out) const;

  synth_tensor::kind x_what;
  kernels::dtype x_type;
  float x_deviation;
  std::uint64_t x_rows, x_cols;
  std::uint64_t x_key;
  std::vector<outlier_channel> x_outliers;
};

} // namespace viva::formats
