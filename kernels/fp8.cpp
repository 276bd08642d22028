#include "kernels/fp8.hpp"

#include "kernels/blockwise.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/fp8.cpp"
#include <hwy/foreach_target.h>

#include "kernels/decode-inl.hpp"
#include "kernels/fold-inl.hpp"
#include "kernels/fp8-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

bool is_finite_fold(std::int32_t amax_bits) {
  return amax_bits < static_cast<std::int32_t>(infinity_bits);
}

float fp8_amax(std::int32_t amax_bits) {
  return float_of(static_cast<std::uint32_t>(amax_bits));
}

/// Blocks side by side that are encoded together, and the running maxima of each: `bits` by lane,
/// so that no row of a block is folded by itself.
constexpr std::size_t fp8_blocks = 32;

struct fp8_maxima {
  HWY_ALIGN std::int32_t bits[fp8_blocks][hn::MaxLanes(df32())];

  HWY_INLINE std::int32_t of(std::size_t block) const {
    return hn::GetLane(hn::MaxOfLanes(di32(), hn::Load(di32(), bits[block])));
  }
};

/// Raises the maxima by one row of the blocks. Fetches what lies `away` bytes from them, and of the
/// row behind it, `row_bytes` on, the first look's share.
template <class Source>
void fp8_raise(Source from, const std::byte* HWY_RESTRICT in, std::size_t cols,
               std::size_t row_bytes, std::ptrdiff_t away, fp8_maxima& most) {
  constexpr std::size_t side = fp8::block_side;
  const di32 di;
  for (std::size_t b = 0, c = 0; c < cols; ++b, c += side, in += side * from.bytes) {
    if (c + side > cols) {
      most.bits[b][0] = std::max(most.bits[b][0], fold_all<magnitude_fold>(from, in, cols - c));
      break;
    }
    auto m0 = hn::Load(di, most.bits[b]), m1 = hn::Zero(di), m2 = m1, m3 = m1;
    for (std::size_t i = 0; i < side; i += 4 * lanes()) {
      prefetch_for_later(in + i * from.bytes + away, 4 * lanes() * from.bytes);
      __builtin_prefetch(in + i * from.bytes + row_bytes, 0, 2);
      const auto at = [&](std::size_t k)
                          HWY_ATTR { return load(from, in + (i + k * lanes()) * from.bytes); };
      m0 = magnitude_fold::take(m0, at(0));
      m1 = magnitude_fold::take(m1, at(1));
      m2 = magnitude_fold::take(m2, at(2));
      m3 = magnitude_fold::take(m3, at(3));
    }
    hn::Store(hn::Max(hn::Max(m0, m1), hn::Max(m2, m3)), di, most.bits[b]);
  }
}

/// Blocks below and beside each other: `cols` columns of all rows, `stride` values apart. While a
/// band of 128 rows is encoded, row by row, the maxima of the next are taken; so every value comes
/// from memory once and then from the cache.
template <class Stores, class Source>
bool fp8_encode_bands(Source from, const std::byte* HWY_RESTRICT in, std::size_t rows,
                      std::size_t cols, std::size_t stride, std::byte* HWY_RESTRICT codes,
                      std::byte* HWY_RESTRICT scales) {
  constexpr std::size_t side = fp8::block_side;
  const std::size_t row_bytes = stride * from.bytes;
  const auto to_next_row = static_cast<std::ptrdiff_t>(row_bytes);
  const auto to_next_band = static_cast<std::ptrdiff_t>(side * row_bytes);
  fp8_maxima next = {};
  for (std::size_t r = 0; r < std::min(side, rows); ++r)
    fp8_raise(from, in + r * row_bytes, cols, row_bytes, to_next_row, next);
  for (std::size_t first = 0; first < rows; first += side) {
    fp8_divisor by[fp8_blocks];
    for (std::size_t b = 0; b < blocks_in(cols, side); ++b) {
      const auto amax = next.of(b);
      if (!is_finite_fold(amax))
        return false;
      by[b] = fp8_divisor(fp8::scale_of(fp8_amax(amax), from.type), fp8_amax(amax));
      put_value(by[b].scale, from.type, scales, first / side * blocks_in(stride, side) + b);
    }
    next = {};
    for (std::size_t r = first; r < std::min(first + side, rows); ++r) {
      if (r + side < rows)
        fp8_raise(from, in + (r + side) * row_bytes, cols, row_bytes, to_next_row - to_next_band,
                  next);
      for (std::size_t b = 0, c = 0; c < cols; ++b, c += side)
        fp8_encode_values<Stores>(from, in + (r * stride + c) * from.bytes,
                                  std::min(side, cols - c), by[b], codes + r * stride + c,
                                  static_cast<std::size_t>(to_next_band + to_next_row));
    }
  }
  return true;
}

/// with_stores for codes whose rows start `cols` bytes apart.
template <class Body>
bool fp8_with_stores(const matrix& in, const std::byte* codes, const Body& body) {
  return with_stores(codes, in.cols % 64 == 0 ? in.values() : 0, body);
}

} // namespace

status fp8_row_encode(const matrix& in, std::byte* codes, std::byte* scales) {
  return with_source(in.type, [&](auto from) -> status {
    const std::size_t ahead = one_look_ahead(in.cols * from.bytes);
    const bool finite = fp8_with_stores(in, codes, [&](auto stores) {
      for (std::size_t r = 0; r < in.rows; ++r) {
        const auto row = in.slice(r, 1);
        const auto amax = fold_row(from, row.data, in.cols);
        if (!is_finite_fold(amax))
          return false;
        const fp8_divisor by(fp8::scale_of(fp8_amax(amax), in.type), fp8_amax(amax));
        put_value(by.scale, in.type, scales, r);
        fp8_encode_values<decltype(stores)>(from, row.data, in.cols, by, codes + r * in.cols,
                                            ahead);
      }
      return true;
    });
    return finite ? status{} : refuse_not_finite(in);
  });
}

status fp8_tensor_encode(const matrix& in, float scale, std::byte* codes) {
  return with_source(in.type, [&](auto from) -> status {
    constexpr std::size_t run = 2048; // values that stay in cache between the two looks at them
    const bool finite = with_stores(codes, in.values(), [&](auto stores) {
      for (std::size_t i = 0; i < in.values(); i += run) {
        const std::size_t count = std::min(run, in.values() - i);
        const std::byte* at = in.data + i * from.bytes;
        const auto amax = fold_row(from, at, count);
        if (!is_finite_fold(amax))
          return false;
        fp8_encode_values<decltype(stores)>(from, at, count, {scale, fp8_amax(amax)}, codes + i,
                                            run * 4);
      }
      return true;
    });
    return finite ? status{} : refuse_not_finite(in);
  });
}

status fp8_block_encode(const matrix& in, std::byte* codes, std::byte* scales) {
  return with_source(in.type, [&](auto from) -> status {
    constexpr std::size_t step = fp8_blocks * fp8::block_side;
    const bool finite = fp8_with_stores(in, codes, [&](auto stores) {
      for (std::size_t c = 0; c < in.cols; c += step)
        if (!fp8_encode_bands<decltype(stores)>(from, in.data + c * from.bytes, in.rows,
                                                std::min(step, in.cols - c), in.cols, codes + c,
                                                scales + c / fp8::block_side * from.bytes))
          return false;
      return true;
    });
    return finite ? status{} : refuse_not_finite(in);
  });
}

/// Decodes values that share a scale. Raises `largest` to their codes' magnitudes; false, where a
/// rest of less than four vectors holds a NaN.
template <class Stores>
HWY_INLINE bool fp8_decode_values(const std::byte* HWY_RESTRICT codes, std::size_t count,
                                  float scale, vu8& largest, float* HWY_RESTRICT out) {
  const float factor = scale * 256.0f;
  std::size_t i = 0;
  if (HWY_LIKELY(is_finite(factor))) { // then it is exact, and so is a value's 256th
    const auto factors = hn::Set(df32(), factor);
    const auto* in = reinterpret_cast<const std::uint8_t*>(codes);
    for (; i + fp8_step <= count; i += fp8_step) {
      const auto magnitude_codes = hn::And(hn::LoadU(du8(), in + i), hn::Set(du8(), 0x7F));
      largest = hn::Max(largest, magnitude_codes);
      VIVA_UNROLL(4)
      for (std::size_t k = 0; k < fp8_step; k += lanes())
        Stores::put(hn::Mul(e4m3_256ths(codes + i + k), factors), df32(), out + i + k);
    }
  }
  bool whole = true;
  for (; i < count; ++i) {
    const auto code = static_cast<std::uint8_t>(codes[i]);
    whole = whole && (code & 0x7F) != 0x7F;
    out[i] = f32_from_e4m3(code) * scale;
  }
  return whole;
}

/// Decodes rows by the scales of `grid`. False, where a scale or a value is no number.
bool fp8_decode(const fp8::scale_grid& grid, std::size_t rows, std::size_t cols,
                const std::byte* codes, const std::byte* scales, float* out) {
  return with_stores(out, aligned_row_bytes(rows, cols), [&](auto stores) {
    auto largest = hn::Zero(du8());
    for (std::size_t r = 0; r < rows; ++r, codes += cols, out += cols)
      for (std::size_t c = 0; c < cols; c += grid.cols) {
        const float scale = value_of(scales, grid.type, grid.index(r, c));
        if (!is_finite(scale)
            || !fp8_decode_values<decltype(stores)>(codes + c, std::min(grid.cols, cols - c), scale,
                                                    largest, out + c))
          return false;
      }
    return hn::AllTrue(du8(), hn::Lt(largest, hn::Set(du8(), 0x7F)));
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(fp8_row_encode);
HWY_EXPORT(fp8_tensor_encode);
HWY_EXPORT(fp8_block_encode);
HWY_EXPORT(fp8_decode);

namespace fp8 {

namespace {

scale_grid row_grid(const recipe& with, std::size_t, std::size_t cols) {
  return {with.source, 1, std::max<std::size_t>(cols, 1), 1};
}
scale_grid tensor_grid(const recipe& with, std::size_t rows, std::size_t cols) {
  return {with.source, std::max<std::size_t>(rows, 1), std::max<std::size_t>(cols, 1), 1};
}
scale_grid block_grid(const recipe& with, std::size_t, std::size_t cols) {
  return {with.source, block_side, block_side, blocks_in(cols, block_side)};
}

status decode_reference(const scale_grid& grid, std::size_t rows, std::size_t cols,
                        std::span<const std::byte* const> in, float* out) noexcept {
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const float scale = value_of(in[1], grid.type, grid.index(r, c));
      const auto code = static_cast<std::uint8_t>(in[0][r * cols + c]);
      if (!is_finite(scale) || (code & 0x7F) == 0x7F)
        return {errc::malformed};
      out[r * cols + c] = f32_from_e4m3(code) * scale;
    }
  return {};
}

status decode_simd(const scale_grid& grid, std::size_t rows, std::size_t cols,
                   std::span<const std::byte* const> in, float* out) noexcept {
  const bool whole = HWY_DYNAMIC_DISPATCH(fp8_decode)(grid, rows, cols, in[0], in[1], out);
  return whole ? status{} : status{errc::malformed};
}

/// Encodes the part of rows [r, r + rows) and columns [c, c + cols) by one scale.
void encode_part(const matrix& in, std::size_t r, std::size_t rows, std::size_t c, std::size_t cols,
                 float scale, std::byte* codes) noexcept {
  for (std::size_t i = r; i < r + rows; ++i)
    for (std::size_t at = i * in.cols + c; at < i * in.cols + c + cols; ++at)
      store_as(e4m3_from_f32(value_of(in, at) / scale), codes + at);
}

geometry shape_of(plane scales, std::uint64_t grain) {
  return {.planes = {plane{"codes", plane::unit_kind::values, 1, 1}, scales},
          .planes_count = 2,
          .rows_grain = grain};
}

std::uint32_t scale_bytes(const recipe& with) {
  return static_cast<std::uint32_t>(bytes_of(with.source));
}

} // namespace

geometry row_shape(const recipe& with, std::uint64_t) {
  return shape_of({"scales", plane::unit_kind::row, 0, scale_bytes(with)}, 1);
}

geometry tensor_shape(const recipe& with, std::uint64_t) {
  return shape_of({"scales", plane::unit_kind::tensor, 0, scale_bytes(with)}, 1);
}

geometry block_shape(const recipe& with, std::uint64_t cols) {
  const auto band = static_cast<std::uint32_t>(blocks_in(cols, block_side)) * scale_bytes(with);
  return shape_of({"scales", plane::unit_kind::row, 0, band, block_side}, block_side);
}

tensor_numbers tensor_survey_finish(const recipe& with, const survey& found) {
  return {{scale_of(found.max, with.source), 0.0f}};
}

status row_encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                            std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t r = 0; r < in.rows; ++r) {
    const float scale = scale_of(magnitude_max(in, r * in.cols, in.cols), in.type);
    put_value(scale, in.type, out[1], r);
    encode_part(in, r, 1, 0, in.cols, scale, out[0]);
  }
  return {};
}

status tensor_encode_reference(const recipe&, const matrix& in, const tensor_numbers& numbers,
                               std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  put_value(numbers.values[0], in.type, out[1], 0);
  encode_part(in, 0, in.rows, 0, in.cols, numbers.values[0], out[0]);
  return {};
}

status block_encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                              std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  std::size_t block = 0;
  for (std::size_t r = 0; r < in.rows; r += block_side)
    for (std::size_t c = 0; c < in.cols; c += block_side, ++block) {
      const std::size_t rows = std::min(block_side, in.rows - r);
      const std::size_t cols = std::min(block_side, in.cols - c);
      float amax = 0;
      for (std::size_t i = r; i < r + rows; ++i)
        amax = std::max(amax, magnitude_max(in, i * in.cols + c, cols));
      const float scale = scale_of(amax, in.type);
      put_value(scale, in.type, out[1], block);
      encode_part(in, r, rows, c, cols, scale, out[0]);
    }
  return {};
}

status row_encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                       std::span<std::byte* const> out) noexcept {
  return HWY_DYNAMIC_DISPATCH(fp8_row_encode)(in, out[0], out[1]);
}

status tensor_encode_simd(const recipe&, const matrix& in, const tensor_numbers& numbers,
                          std::span<std::byte* const> out) noexcept {
  put_value(numbers.values[0], in.type, out[1], 0);
  return HWY_DYNAMIC_DISPATCH(fp8_tensor_encode)(in, numbers.values[0], out[0]);
}

status block_encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                         std::span<std::byte* const> out) noexcept {
  return HWY_DYNAMIC_DISPATCH(fp8_block_encode)(in, out[0], out[1]);
}

status row_decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                            const tensor_numbers&, std::span<const std::byte* const> in,
                            float* out) noexcept {
  return decode_reference(row_grid(with, rows, cols), rows, cols, in, out);
}
status tensor_decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                               const tensor_numbers&, std::span<const std::byte* const> in,
                               float* out) noexcept {
  return decode_reference(tensor_grid(with, rows, cols), rows, cols, in, out);
}
status block_decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                              const tensor_numbers&, std::span<const std::byte* const> in,
                              float* out) noexcept {
  return decode_reference(block_grid(with, rows, cols), rows, cols, in, out);
}
status row_decode_simd(const recipe& with, std::size_t rows, std::size_t cols,
                       const tensor_numbers&, std::span<const std::byte* const> in,
                       float* out) noexcept {
  return decode_simd(row_grid(with, rows, cols), rows, cols, in, out);
}
status tensor_decode_simd(const recipe& with, std::size_t rows, std::size_t cols,
                          const tensor_numbers&, std::span<const std::byte* const> in,
                          float* out) noexcept {
  return decode_simd(tensor_grid(with, rows, cols), rows, cols, in, out);
}
status block_decode_simd(const recipe& with, std::size_t rows, std::size_t cols,
                         const tensor_numbers&, std::span<const std::byte* const> in,
                         float* out) noexcept {
  return decode_simd(block_grid(with, rows, cols), rows, cols, in, out);
}

} // namespace fp8
} // namespace viva::kernels
#endif
