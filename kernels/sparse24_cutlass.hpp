#pragma once

// 2:4 sparsity with the metadata of sparse tensor cores, as CUTLASS and PyTorch's
// SparseSemiStructuredTensorCUTLASS lay it out.
//
// Source    NVIDIA CUTLASS, `reorder_meta`; PyTorch, torch/sparse/_semi_structured_conversions.py
// Rule      as sparse24
// Planes    values (rows, cols / 2) in the type of the source · metadata u8, for each 64 rows
//           cols / 16 words of 16 bits a row
// Nibble    A group has 4 bits, index of its first value | index of its second << 2, chosen by
// which
//           of its values are kept and not zero; where these are fewer than two, an index stands
//           for a zero:   none 2,3 · only 0: 0,2 · only 1: 1,2 · only 2 or only 3: 2,3
// Words     4 nibbles (8 for 8-bit values, 32 bits), the first group lowest
// Order     Word (r, c) of 64 rows lies at word `word_place(r, c)`: pairs of columns after each
//           other, in each pair the rows shuffled, in each 2x2 of them transposed.
//           These are CUTLASS's bytes for a matrix of 64 rows. A taller one keeps a pair of columns
//           together over all rows there, here 64 rows keep all columns together, so that any 64
//           rows can be written alone. The way to CUTLASS's array is one transposition:
//             metadata.view(rows / 64, words / 2, 128).transpose(0, 1).reshape(rows, words)
//           A last run of fewer than 64 rows is filled up with rows of zeros, metadata only; the
//           values that go with it must be, too. cuSPARSELt's matrix is opaque and of one device
//           and version: it is made there, from sparse24-dense.
// Decode    values at their indices, +0 elsewhere; `malformed` where an index does not ascend
// Bound     as sparse24
// Exactness reference and SIMD agree bit for bit on every target. Runs start at multiples of 64
//           rows; columns are a multiple of 32 (64 for 8-bit values), since pairs of words are.
//
// Tensor cores take 2 of 4 in 16- and 8-bit types only: f32 values have the metadata of 16-bit
// ones, so that rounding the values is all that is left to do. Other shapes take sparse24's
// bitmask.

#include "kernels/scalar.hpp"
#include "kernels/sparse24.hpp"

namespace viva::kernels::sparse24_cutlass {

inline constexpr std::size_t slab_rows = 64; ///< Rows whose metadata lies together.

/// The nibble of a group, by which of its values are kept and not zero: at most two bits.
VIVA_HD constexpr unsigned nibble_of(unsigned flags) noexcept {
  const bool m0 = (flags & 1u) != 0, m1 = (flags & 2u) != 0, m3 = (flags & 8u) != 0;
  const bool both = m0 && m1, second = !m0 && m1, neither = !m0 && !m1;
  const unsigned first_index = (second ? 1u : 0u) | (neither ? 2u : 0u);
  const unsigned second_index = (both || neither || m3 ? 1u : 0u) | (second || !m1 ? 2u : 0u);
  return first_index | second_index << 2;
}

/// Whether a kept value is zero: a float of either sign, or an 8-bit code.
template <class Bits>
VIVA_HD bool is_zero(Bits value) noexcept {
  return static_cast<Bits>(sizeof(Bits) == 1 ? value : value << 1) == 0;
}

/// The nibble of one group; its two kept values change places where an index is chosen anew.
template <class Bits>
VIVA_HD unsigned settle(std::byte* kept, unsigned mask) noexcept {
  Bits dense[sparse24::group] = {};
  unsigned flags = 0;
  for (std::size_t i = 0, next = 0; i < sparse24::group; ++i)
    if ((mask >> i & 1u) != 0) {
      dense[i] = load_as<Bits>(kept + next++ * sizeof(Bits));
      flags |= is_zero(dense[i]) ? 0u : 1u << i;
    }
  const unsigned nibble = nibble_of(flags);
  store_as(dense[nibble & 3u], kept);
  store_as(dense[nibble >> 2], kept + sizeof(Bits));
  return nibble;
}

/// The bitmask of a nibble: 0 where its indices do not ascend.
VIVA_HD constexpr unsigned bits_of_nibble(unsigned nibble) noexcept {
  const unsigned first = nibble & 3u, second = nibble >> 2;
  return first < second ? 1u << first | 1u << second : 0;
}

/// Where word `c` of row `r` lies among the words of 64 rows.
VIVA_HD constexpr std::size_t word_place(std::size_t r, std::size_t c) noexcept {
  std::size_t row = r % 2 * 2 + r % 8 / 4 + r % 4 / 2 * 32 + r / 8 * 4;
  if (row % 2 == 0 && c % 2 == 1) {
    ++row;
    --c;
  } else if (row % 2 == 1 && c % 2 == 0) {
    --row;
    ++c;
  }
  return c / 2 * (2 * slab_rows) + row * 2 + c % 2;
}

/// Nibbles of a word: 4 for 16-bit (and f32) values, 8 for 8-bit ones.
VIVA_HD constexpr std::size_t word_nibbles(std::size_t value_bytes) noexcept {
  return value_bytes == 1 ? 8 : 4;
}

/// The metadata plane, 4 bits a group.
plane metadata_plane(std::uint64_t cols) noexcept;

/// Metadata of pruned rows, the first of them the first of 64. `kept` are the values that the
/// bitmask keeps, of 1, 2 or 4 bytes; wider than one they are floats, of whose zeros the sign does
/// not count. They change places where an index is chosen anew.
void write_metadata(path which, std::byte* kept, std::size_t value_bytes, const std::byte* bitmask,
                    std::size_t rows, std::size_t cols, std::byte* metadata) noexcept;

/// The bitmask that metadata means: none of a group's bits, where its indices do not ascend.
void read_metadata(const std::byte* metadata, std::size_t value_bytes, std::size_t rows,
                   std::size_t cols, std::byte* bitmask) noexcept;

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;

} // namespace viva::kernels::sparse24_cutlass
