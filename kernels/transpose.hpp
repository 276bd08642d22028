#pragma once

// Turns a matrix of elements of 2 or 4 bytes: layouts whose input channels are rows want what
// kernels write row by row.

#include <cstddef>

namespace viva::kernels {

/// A matrix in bytes: `pitch` bytes from the beginning of one row to the next.
template <class Byte>
struct pitched {
  Byte* data = nullptr;
  std::size_t pitch = 0;
};

/// in: (rows, cols) elements of `element_bytes`, 2 or 4; out: (cols, rows). Both may be unaligned.
void transpose(pitched<const std::byte> in, std::size_t rows, std::size_t cols,
               std::size_t element_bytes, pitched<std::byte> out) noexcept;

} // namespace viva::kernels
