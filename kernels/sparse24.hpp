#pragma once

// 2:4 sparsity: of every 4 values the 2 that matter most are kept, the others become zero.
//
// Source    Mishra et al., "Accelerating Sparse Deep Neural Networks", arXiv:2104.08378; scores by
//           importance are those of Wanda, arXiv:2306.11695. The bitmask is that of
//           compressed-tensors' former sparse-24-bitmask.
// Rule      Each aligned group of 4 columns of a row keeps the 2 values with the largest scores;
//           of equal scores the lower column's. The score is |x|, or |x| * sqrt(channels[column]),
//           root and product rounded to f32, where the recipe has channels: finite, not negative.
// Planes    sparse24: values (rows, cols / 2) in the type of the source, kept values in order,
// their
//           bits unchanged · bitmask u8 (rows, ceil(cols / 8)): bit c % 8 of byte c / 8 says that
//           column c is kept; bits past the last column are 0
//           sparse24-dense: values (rows, cols) in the type of the source, +0 where not kept
// Decode    the kept values at their columns, +0 elsewhere
// Bound     x' = x where kept, else |x - x'| = |x|; by magnitude |x| <= both kept magnitudes of
//           the group, with channels |x| sqrt(channel) <= both kept scores
// Exactness reference and SIMD agree bit for bit on every target. Any row may start a run.
//           Decoded values, as f32, encode to the same bytes again where no kept value is zero.
//
// With f16 or bf16 values 9 bits per value, with f32 17. sparse24_cutlass.hpp has the same with the
// metadata of sparse tensor cores, sparse24_stack.hpp the methods that encode what is kept.

#include "kernels/convert.hpp"
#include "kernels/registry.hpp"

#include <cmath>

namespace viva::kernels::sparse24 {

inline constexpr std::size_t group = 4; ///< Values of which 2 are kept.

/// Bit i is set where value i of a group is kept, by its scores' f32 bits without sign.
VIVA_HD constexpr unsigned kept_of(const std::uint32_t (&score)[group]) noexcept {
  unsigned kept = 0;
  for (unsigned i = 0; i < group; ++i) {
    unsigned beaten = 0;
    for (unsigned j = 0; j < group; ++j)
      beaten += score[j] > score[i] || (score[j] == score[i] && j < i) ? 1u : 0u;
    kept |= beaten < 2 ? 1u << i : 0u;
  }
  return kept;
}

/// What a value scores; `channel` is its column's, or null where there are none.
VIVA_HD inline std::uint32_t score_of(float x, const float* channel) noexcept {
  return channel == nullptr ? magnitude_bits(x) : bits_of(magnitude(x) * std::sqrt(*channel));
}

/// Bytes of a row's bitmask.
constexpr std::size_t mask_bytes(std::size_t cols) noexcept {
  return (cols + 7) / 8;
}

/// What pruning by SIMD saw.
struct pruned {
  bool finite;      ///< Whether all values were.
  bool keeps_zeros; ///< Whether a value that is kept is zero, of either sign.
};

/// Prunes rows: kept values (rows, cols / 2) and bitmask (rows, mask_bytes), each in one piece.
/// Refuses NaN and infinity, columns that are no whole groups, and channels that are not one for
/// each column. The SIMD path says in `keeps_zeros`, where it is given, what `pruned` means by it.
status prune(path which, const recipe&, const matrix& in, std::byte* kept, std::byte* bitmask,
             bool* keeps_zeros = nullptr) noexcept;

/// Values of `type` back at their columns, as f32. `malformed` where a group has not 2 bits.
/// `past_cache` is what spreads_past_cache says of the whole output, of which this may be a run.
status spread(path which, const std::byte* kept, dtype type, const std::byte* bitmask,
              std::size_t rows, std::size_t cols, bool past_cache, float* out) noexcept;

bool spreads_past_cache(std::size_t rows, std::size_t cols, const float* out) noexcept;

/// Replaces each nibble of `count` bytes by its entry of `table`.
void map_nibbles(std::span<const std::uint8_t, 16> table, std::byte* bytes,
                 std::size_t count) noexcept;

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

geometry dense_shape(const recipe&, std::uint64_t cols);
encode_fn dense_encode_reference, dense_encode_simd;
decode_fn dense_decode_reference, dense_decode_simd;

} // namespace viva::kernels::sparse24
