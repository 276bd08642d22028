#pragma once

// GGUF's q4_0, q4_1, q5_0 and q5_1 where columns matter differently (recipe::channels, an imatrix):
// each block's scale, and minimum, are searched for the least weighed error.
//
// Source    ggml d99724f2, quantize_row_q4_0_impl and its like, make_qx_quants, make_qkx3_quants
// Weights   w = channel * sqrt(mean square of the row + x²), the row's sum in the order of columns
// Without a minimum: m the signed value of largest magnitude, the first of equals; n = 8 or 16. For
//           f = -n / m, then -(n + 0.1 i) / m, i = -9 … 9 but 0: levels l = rint(f x) in [-n, n-1],
//           s = Σ w x l, q = Σ w l l; the first f of largest s s / q wins, d = s / q, code = l + n.
//           A block below 1e-15 has d and all codes 0.
// With a minimum: codes in [0, n], n = 15 or 31, first by the range widened to 0; then by
//           (n - 0.9 + 0.05 i) / (max - min), i = 0 … 36, least squares for d and min, min at most
//           0; the first of least error Σ w (d code + min - x)² wins. Later i count from its min.
// Bound     Without a minimum |x - x'| <= 0.607 max|x| (q4_0), 0.557 (q5_0) + max|x| 2^-10 + 2^-20,
//           while max|x| <= 2^18. A level is off by half, the last one too low by up to 1.9; so d,
//           the mean of x / l weighed by w l l, is between 0.5 / f and 1.5 / f. The worst is a
//           value that weighs nothing and has level n - 1 where all others have level 1. A block in
//           which no value above max|x| / (2 n + 1.8) weighs anything decodes to zeros.
//           Σ w (x - x')² is at most that without channels and 2^-14 Σ w x².
//           With a minimum sqrt(Σ w (x - x')² / Σ w) <= r / (2 n) + (r + max|x|) 2^-9 + 2^-20,
//           r = max - min, widened to 0, while r <= 2^15; a value's error is within that times
//           sqrt(Σ w / w), and one that weighs nothing has no bound.
// Exactness reference and SIMD agree bit for bit; ggml's bytes where it is compiled without FMA. A
//           block whose sums overflow f32 is encoded as without channels, where ggml writes NaN.

#include "kernels/ggml_blocks.hpp"
#include "kernels/registry.hpp"

#include <array>

namespace viva::kernels::ggml_weighed {

struct format {
  int steps = 0;        ///< n above.
  bool has_min = false;
  bool fifth_bit = false;
  std::size_t block_bytes = 0;
};

inline constexpr format q4_0{8, false, false, 18}, q4_1{15, true, false, 20};
inline constexpr format q5_0{16, false, true, 22}, q5_1{31, true, true, 24};

inline constexpr std::size_t values = ggml_block_values;
inline constexpr int refits = 9;        ///< Of the search without a minimum, to either side.
inline constexpr int range_refits = 37; ///< Of the search with one.

/// What a search found for one block.
struct found_block {
  float d = 0, min = 0;
  std::array<std::uint8_t, values> codes{};
};

/// A block's bytes: f16 d, f16 min where there is one, the fifth bits where there are, the nibbles.
VIVA_HD inline void put_block(const format& as, const found_block& found, std::byte* out) noexcept {
  constexpr std::size_t half = values / 2;
  store_as(ggml_f16(found.d), out);
  out += 2;
  if (as.has_min) {
    store_as(ggml_f16(found.min), out);
    out += 2;
  }
  if (as.fifth_bit) {
    std::uint32_t fifth = 0;
    for (std::size_t j = 0; j < values; ++j)
      fifth |= std::uint32_t{found.codes[j]} >> 4 << j;
    store_as(fifth, out);
    out += 4;
  }
  for (std::size_t j = 0; j < half; ++j)
    out[j] = static_cast<std::byte>((found.codes[j] & 15) | (found.codes[j + half] & 15) << 4);
}

/// -(n + 0.1 i) of the search without a minimum.
VIVA_HD inline float numerator_of(int steps, int i) noexcept {
  return -(static_cast<float>(steps) + 0.1f * static_cast<float>(i));
}
/// n - 0.9 + 0.05 i of the one with.
VIVA_HD inline float range_numerator_of(int steps, int i) noexcept {
  return -0.9f + 0.05f * static_cast<float>(i) + static_cast<float>(steps);
}

/// The block from value `value` of `in` on, encoded without channels.
status encode_plain(const recipe&, encode_fn*, const matrix& in, std::size_t value,
                    std::byte* out) noexcept;

/// Encode functions of these methods for recipes with channels; as `encode_fn`.
status encode_reference(const format&, const recipe&, const matrix& in, std::byte* out) noexcept;
status encode_simd(const format&, const recipe&, const matrix& in, std::byte* out) noexcept;

} // namespace viva::kernels::ggml_weighed
