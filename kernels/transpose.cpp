#include "kernels/transpose.hpp"

#include "kernels/scalar.hpp"

#include <algorithm>
#include <cstdint>

namespace viva::kernels {

namespace {

/// Elements of a tile's edge: a tile is read and written within the first-level cache.
constexpr std::size_t tile = 32;

template <class Element>
void transpose_tile(pitched<const std::byte> in, std::size_t rows, std::size_t cols,
                    pitched<std::byte> out) noexcept {
  for (std::size_t c = 0; c < cols; ++c)
    for (std::size_t r = 0; r < rows; ++r)
      store_as(load_as<Element>(in.data + r * in.pitch + c * sizeof(Element)),
               out.data + c * out.pitch + r * sizeof(Element));
}

template <class Element>
void transpose_all(pitched<const std::byte> in, std::size_t rows, std::size_t cols,
                   pitched<std::byte> out) noexcept {
  for (std::size_t r = 0; r < rows; r += tile)
    for (std::size_t c = 0; c < cols; c += tile)
      transpose_tile<Element>({in.data + r * in.pitch + c * sizeof(Element), in.pitch},
                              std::min(tile, rows - r), std::min(tile, cols - c),
                              {out.data + c * out.pitch + r * sizeof(Element), out.pitch});
}

} // namespace

void transpose(pitched<const std::byte> in, std::size_t rows, std::size_t cols,
               std::size_t element_bytes, pitched<std::byte> out) noexcept {
  if (element_bytes == 2)
    transpose_all<std::uint16_t>(in, rows, cols, out);
  else
    transpose_all<std::uint32_t>(in, rows, cols, out);
}

} // namespace viva::kernels
