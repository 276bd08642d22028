#pragma once

// Where the bytes of a run of rows lie in a file. Most planes hold them in one piece; a transposed
// plane (formats/layout.hpp) holds a strip of them in each of its rows, and lanes turn a run on its
// way: writers scatter, readers and checksums gather.

#include "actors/workplace.hpp"
#include "kernels/registry.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace viva::actors {

struct strips {
  std::uint64_t offset = 0; ///< Of the first, from the plane's beginning.
  std::uint64_t bytes = 0;  ///< Of each.
  std::uint64_t count = 1;
  std::uint64_t pitch = 0; ///< From the beginning of one to the next.

  std::uint64_t total() const noexcept {
    return bytes * count;
  }
};

/// A run of rows of a tensor.
struct row_run {
  std::uint64_t first = 0, count = 0;
  std::uint64_t rows = 0, cols = 0; ///< Of the whole tensor.
};

/// `transposed` is the size of an element, 0 where the plane lies as it is.
strips strips_of(const kernels::plane&, std::uint32_t transposed, const row_run&) noexcept;

/// A run as a kernel wrote it, in the order of its strips in the file; `out` is as long.
void turn_for_file(const kernels::plane&, std::uint32_t transposed, std::span<const std::byte> run,
                   std::span<std::byte> out) noexcept;

/// The other way, from the mapped file: a run as a kernel reads it.
void gather(const kernels::plane&, std::uint32_t transposed, const strips&, const std::byte* plane,
            std::span<std::byte> out) noexcept;

/// Writes the bytes of all strips, one behind the other in `bytes`, to their places.
expected<void> scatter(const workplace&, placement plane, const strips&,
                       std::span<const std::byte> bytes);

/// Reads strips back, as `scatter` takes them. `first` and `out` may cover a part of them.
expected<void> read_strips(const workplace&, placement plane, const strips&, std::uint64_t first,
                           std::span<std::byte> out);

} // namespace viva::actors
