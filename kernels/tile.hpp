#pragma once

// Tiles: blocks of values that one thread encodes alone, by the reference's own function.
//
// A block of threads stages the values of as many blocks as it has threads: whole lines are read
// side by side and laid down as f32, one row for each block, a float apart, so that threads which
// read their rows do not meet in a bank. What the blocks become is staged as well and leaves in
// whole lines. The steps are VIVA_HD functions of (thread, threads); tests run them as loops.

#include "kernels/device_code.hpp"

namespace viva::kernels {

/// What a tile op reads and where its records go; the op has one, called `io`.
struct tile_io {
  const std::byte* in = nullptr;
  dtype type = dtype::f32;
  unsigned block_values = 32;   ///< A power of two, 16 to 128.
  std::byte* records = nullptr; ///< Block b's bytes lie at b * record_bytes.
  unsigned record_bytes = 0;    ///< At most 64.
  device_report* report = nullptr;

  /// Blocks, and threads, of one tile: rows of f32 take 33 KiB at most.
  VIVA_HD unsigned threads() const noexcept {
    return block_values <= 32 ? 256 : 8192 / block_values;
  }
  VIVA_HD unsigned pitch() const noexcept {
    return block_values + 1;
  }
  VIVA_HD std::size_t record_offset() const noexcept {
    return (std::size_t{threads()} * pitch() * sizeof(float) + 15) / 16 * 16;
  }
  std::size_t shared_bytes() const noexcept {
    return record_offset() + (std::size_t{threads()} * record_bytes + 15) / 16 * 16;
  }
};

template <dtype Type>
VIVA_HD void stage_values(const tile_io& io, std::size_t first, unsigned blocks, unsigned thread,
                          unsigned threads, float* rows) noexcept {
  const typed_values<Type> in{io.in};
  const unsigned count = blocks * io.block_values;
  for (unsigned i = 4 * thread; i < count; i += 4 * threads) {
    float x[4];
    in.four(first * io.block_values + i, x);
    float* to = rows + i / io.block_values * io.pitch() + i % io.block_values;
    for (int k = 0; k < 4; ++k)
      to[k] = x[k];
  }
}

/// Step 1: values of blocks [first, first + blocks) to rows.
VIVA_HD inline void stage_in(const tile_io& io, std::size_t first, unsigned blocks, unsigned thread,
                             unsigned threads, float* rows) noexcept {
  if (io.type == dtype::f32)
    stage_values<dtype::f32>(io, first, blocks, thread, threads, rows);
  else if (io.type == dtype::f16)
    stage_values<dtype::f16>(io, first, blocks, thread, threads, rows);
  else
    stage_values<dtype::bf16>(io, first, blocks, thread, threads, rows);
}

/// Step 2: the thread's own block. One with NaN or infinity is reported and left alone.
template <class Op>
VIVA_HD void encode_own(const Op& op, std::size_t first, unsigned thread, const float* rows,
                        std::byte* records) noexcept {
  const tile_io& io = op.io;
  const float* x = rows + std::size_t{thread} * io.pitch();
  for (unsigned i = 0; i < io.block_values; ++i)
    if (!is_finite(x[i])) {
      lower_to(&io.report->not_finite, (first + thread) * io.block_values + i);
      return;
    }
  op(first + thread, x, records + std::size_t{thread} * io.record_bytes);
}

/// Step 3: the records of the tile to their place.
VIVA_HD inline void stage_out(const tile_io& io, std::size_t first, unsigned blocks,
                              unsigned thread, unsigned threads,
                              const std::byte* records) noexcept {
  struct alignas(16) line {
    std::uint32_t words[4];
  };
  std::byte* out = io.records + first * io.record_bytes;
  const unsigned bytes = blocks * io.record_bytes;
  const unsigned whole = bytes / 16 * 16;
  for (unsigned i = 16 * thread; i < whole; i += 16 * threads)
    store_as(load_as<line>(records + i), out + i);
  for (unsigned i = whole + thread; i < bytes; i += threads)
    out[i] = records[i];
}

} // namespace viva::kernels
