#pragma once

// 2:4 pruning on a device, by sparse24.hpp's and sparse24_cutlass.hpp's functions.

#include "kernels/device_runs.hpp"
#include "kernels/sparse24.hpp"
#include "kernels/sparse24_cutlass.hpp"

namespace viva::kernels {

/// Which of the 4 values from flat index `first` on, in column `col`, are kept. Reports what is not
/// finite.
template <dtype Type>
VIVA_HD unsigned kept_of_four(const typed_values<Type>& in, std::size_t first, std::size_t col,
                              const float* channels, device_report* report) noexcept {
  float x[4];
  in.four(first, x);
  std::uint32_t score[sparse24::group];
  for (std::size_t i = 0; i < 4; ++i) {
    if (!is_finite(x[i]))
      lower_to(&report->not_finite, first + i);
    score[i] = sparse24::score_of(x[i], channels == nullptr ? nullptr : channels + col + i);
  }
  return sparse24::kept_of(score);
}

/// Unit: a byte of the bitmask, two groups or, at the end of a row, one. Kept bits as they are.
template <dtype Type>
struct prune24 {
  typed_values<Type> in;
  std::size_t cols;
  const float* channels; ///< Null where all columns weigh the same.
  std::byte* kept;       ///< (rows, cols / 2)
  std::byte* bitmask;    ///< (rows, ceil(cols / 8))
  device_report* report;

  VIVA_HD void operator()(std::size_t unit) const noexcept {
    using bits = std::conditional_t<Type == dtype::f32, std::uint32_t, std::uint16_t>;
    const std::size_t row_bytes = (cols + 7) / 8;
    const std::size_t row = unit / row_bytes, col = unit % row_bytes * 8;
    unsigned mask = 0;
    for (std::size_t c = col; c < cols && c < col + 8; c += 4) {
      const std::size_t first = row * cols + c;
      const unsigned keep = kept_of_four(in, first, c, channels, report);
      mask |= keep << (c - col);
      std::size_t next = first / 2;
      for (std::size_t i = 0; i < 4; ++i)
        if ((keep >> i & 1u) != 0)
          store_as(load_as<bits>(in.data + (first + i) * sizeof(bits)),
                   kept + next++ * sizeof(bits));
    }
    bitmask[unit] = static_cast<std::byte>(mask);
  }
};

/// Unit: a group of 4, whose other values become +0.
template <dtype Type>
struct zero24 {
  typed_values<Type> in;
  std::size_t cols;
  const float* channels;
  std::byte* out; ///< (rows, cols)
  device_report* report;

  VIVA_HD void operator()(std::size_t unit) const noexcept {
    using bits = std::conditional_t<Type == dtype::f32, std::uint32_t, std::uint16_t>;
    const std::size_t first = unit * 4;
    const unsigned keep = kept_of_four(in, first, first % cols, channels, report);
    for (std::size_t i = 0; i < 4; ++i) {
      const auto x = load_as<bits>(in.data + (first + i) * sizeof(bits));
      store_as((keep >> i & 1u) != 0 ? x : bits{0}, out + (first + i) * sizeof(bits));
    }
  }
};

/// Unit: a row. Kept values back at their columns.
struct spread24 {
  const std::byte* kept;
  dtype type;
  const std::byte* bitmask;
  std::size_t cols;

  VIVA_HD const std::byte* open(std::size_t row) const noexcept {
    return bitmask + row * ((cols + 7) / 8);
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t, const std::byte* mask,
                      float* x) const noexcept {
    const auto byte = static_cast<unsigned>(mask[at / 8]);
    const unsigned keep = byte >> at % 8 & 15u;
    unsigned next = 0;
    for (unsigned i = 0; i < 4; ++i) {
      const bool mine = (keep >> i & 1u) != 0;
      x[i] = mine && next < 2 ? value_of(kept, type, (first + at) / 2 + next) : 0.0f;
      next += mine ? 1 : 0;
    }
    // Two of four; and bits past the last column are 0.
    return next == 2 && (at + 4 < cols || at % 8 != 0 || byte >> 4 == 0);
  }
};

struct dense24_values {
  const std::byte* values_in;
  dtype type;

  VIVA_HD int open(std::size_t) const noexcept {
    return 0;
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t n, int,
                      float* x) const noexcept {
    for (std::size_t k = 0; k < n; ++k)
      x[k] = value_of(values_in, type, first + at + k);
    return true;
  }
};

} // namespace viva::kernels
