#pragma once

// Metadata of sparse tensor cores on a device, from a bitmask and back.

#include "kernels/device_code.hpp"
#include "kernels/sparse24_cutlass.hpp"

namespace viva::kernels {

/// Byte `b` of a row's bitmask, and where its metadata lies: bytes of a word lie together.
struct metadata_place {
  std::size_t cols;
  unsigned word_bytes; ///< 2, and 4 for 8-bit values.

  VIVA_HD std::size_t row_bytes() const noexcept {
    return cols / 8;
  }
  VIVA_HD std::size_t of(std::size_t row, std::size_t b) const noexcept {
    constexpr std::size_t slab = sparse24_cutlass::slab_rows;
    const std::size_t word = sparse24_cutlass::word_place(row % slab, b / word_bytes);
    return row / slab * slab * row_bytes() + word * word_bytes + b % word_bytes;
  }
};

/// Unit: a byte of the bitmask of whole slabs: two groups, whose kept values change places where an
/// index is chosen anew. Rows that are wanting have metadata of zeros.
template <class Bits>
struct write_metadata24 {
  metadata_place place;
  std::size_t rows;
  std::byte* kept;
  const std::byte* bitmask;
  std::byte* metadata;

  VIVA_HD void operator()(std::size_t unit) const noexcept {
    const std::size_t row = unit / place.row_bytes(), b = unit % place.row_bytes();
    unsigned nibbles = 0xEE; // of two groups of zeros
    if (row < rows) {
      const auto bits = static_cast<unsigned>(bitmask[unit]);
      std::byte* values = kept + unit * 4 * sizeof(Bits);
      nibbles = sparse24_cutlass::settle<Bits>(values, bits & 15u);
      nibbles |= sparse24_cutlass::settle<Bits>(values + 2 * sizeof(Bits), bits >> 4) << 4;
    }
    metadata[place.of(row, b)] = static_cast<std::byte>(nibbles);
  }
};

/// Unit: a byte of the bitmask.
struct read_metadata24 {
  metadata_place place;
  const std::byte* metadata;
  std::byte* bitmask;

  VIVA_HD void operator()(std::size_t unit) const noexcept {
    const std::size_t row = unit / place.row_bytes(), b = unit % place.row_bytes();
    const auto nibbles = static_cast<unsigned>(metadata[place.of(row, b)]);
    bitmask[unit] = static_cast<std::byte>(sparse24_cutlass::bits_of_nibble(nibbles & 15u)
                                           | sparse24_cutlass::bits_of_nibble(nibbles >> 4) << 4);
  }
};

} // namespace viva::kernels
