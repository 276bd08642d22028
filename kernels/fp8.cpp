#include "kernels/fp8.hpp"

#include "kernels/blockwise.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/fp8.cpp"
#include <hwy/foreach_target.h>

#include "kernels/decode-inl.hpp"
#include "kernels/fold-inl.hpp"
#include "kernels/minifloat-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

/// Values of one step: four vectors become one vector of codes.
constexpr std::size_t fp8_step = 4 * hn::MaxLanes(df32());

/// How far, in powers of two below a quotient, it may be from the code's value for a product by the
/// reciprocal to have the same code. Half a step is 1/16; the product is off by less than 2^-22.
constexpr float fp8_safe_distance = 0.0625f - 0x1p-20f;

/// A scale to divide by.
struct fp8_divisor {
  float scale;
  float inverse;
  float safe_distance;

  /// Where the reciprocal overflows no distance is safe, so every step divides.
  HWY_INLINE explicit fp8_divisor(float by)
      : scale(by), inverse(1.0f / by), safe_distance(is_finite(inverse) ? fp8_safe_distance : -1) {}
};

/// Codes of one step. Multiplies by the reciprocal and divides only where a quotient lies so near
/// the middle of two codes that the product could have fallen on the other side.
template <class Source>
HWY_INLINE vu8 fp8_codes(Source from, const std::byte* HWY_RESTRICT in, const fp8_divisor& by) {
  const df32 d;
  const auto inverse = hn::Set(d, by.inverse);
  const auto safe = hn::Set(d, by.safe_distance);
  vf32 x[4];
  vi32 code[4];
  auto excess = hn::Set(d, -1.0f);
  for (std::size_t k = 0; k < 4; ++k) {
    x[k] = load(from, in + k * lanes() * from.bytes);
    const auto r = round_e4m3(hn::Mul(x[k], inverse));
    code[k] = e4m3_codes(x[k], r);
    const auto distance = hn::Abs(hn::Sub(rounded_value(r, 0x1p20f), r.magnitude));
    excess = hn::Max(excess, hn::NegMulAdd(r.power, safe, distance));
  }
  if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Lt(excess, hn::Zero(d)))))
    for (std::size_t k = 0; k < 4; ++k)
      code[k] = e4m3_codes(hn::Div(x[k], hn::Set(d, by.scale)));
  return pack_u8(code[0], code[1], code[2], code[3]);
}

/// Encodes `count` values that share a scale.
template <class Source>
HWY_INLINE void fp8_encode_values(Source from, const std::byte* HWY_RESTRICT in, std::size_t count,
                                  const fp8_divisor& by, std::byte* HWY_RESTRICT codes) {
  auto* out = reinterpret_cast<std::uint8_t*>(codes);
  const std::size_t whole = count / fp8_step * fp8_step;
  for (std::size_t i = 0; i < whole; i += fp8_step)
    hn::StoreU(fp8_codes(from, in + i * from.bytes, by), du8(), out + i);
  if (whole == count)
    return;
  HWY_ALIGN std::byte rest_in[fp8_step * 4] = {};
  HWY_ALIGN std::byte rest_out[fp8_step];
  copy_bytes(rest_in, in + whole * from.bytes, (count - whole) * from.bytes);
  hn::Store(fp8_codes(from, rest_in, by), du8(), reinterpret_cast<std::uint8_t*>(rest_out));
  copy_bytes(codes + whole, rest_out, count - whole);
}

bool is_finite_fold(std::int32_t amax_bits) {
  return amax_bits < static_cast<std::int32_t>(infinity_bits);
}

float fp8_scale(std::int32_t amax_bits, dtype type) {
  return fp8::scale_of(float_of(static_cast<std::uint32_t>(amax_bits)), type);
}

/// Columns of blocks encoded together: 128 rows of them lie in the second-level cache.
constexpr std::size_t fp8_blocks = 4;

/// At most `fp8_blocks` blocks side by side: `rows` rows of `cols` columns, `stride` values apart.
template <class Source>
bool fp8_encode_blocks(Source from, const std::byte* HWY_RESTRICT in, std::size_t rows,
                       std::size_t cols, std::size_t stride, std::byte* HWY_RESTRICT codes,
                       std::byte* HWY_RESTRICT scales) {
  constexpr std::size_t side = fp8::block_side;
  std::int32_t amax[fp8_blocks] = {};
  const auto each = [&](std::size_t r, const auto& body) {
    for (std::size_t b = 0, c = 0; c < cols; ++b, c += side)
      body(b, r * stride + c, std::min(side, cols - c));
  };
  for (std::size_t r = 0; r < rows; ++r)
    each(r, [&](std::size_t b, std::size_t at, std::size_t count) {
      amax[b] = std::max(amax[b], fold_all<magnitude_fold>(from, in + at * from.bytes, count));
    });
  for (std::size_t b = 0; b < blocks_in(cols, side); ++b) {
    if (!is_finite_fold(amax[b]))
      return false;
    put_value(fp8_scale(amax[b], from.type), from.type, scales, b);
  }
  for (std::size_t r = 0; r < rows; ++r)
    each(r, [&](std::size_t b, std::size_t at, std::size_t count) {
      const fp8_divisor by(fp8_scale(amax[b], from.type));
      fp8_encode_values(from, in + at * from.bytes, count, by, codes + at);
    });
  return true;
}

} // namespace

status fp8_row_encode(const matrix& in, std::byte* codes, std::byte* scales) {
  return with_source(in.type, [&](auto from) -> status {
    for (std::size_t r = 0; r < in.rows; ++r) {
      const auto row = in.slice(r, 1);
      const auto amax = fold_all<magnitude_fold>(from, row.data, in.cols);
      if (!is_finite_fold(amax))
        return refuse_not_finite(in);
      const float scale = fp8_scale(amax, in.type);
      put_value(scale, in.type, scales, r);
      fp8_encode_values(from, row.data, in.cols, fp8_divisor(scale), codes + r * in.cols);
    }
    return {};
  });
}

status fp8_tensor_encode(const matrix& in, float scale, std::byte* codes) {
  return with_source(in.type, [&](auto from) -> status {
    constexpr std::size_t run = 4096; // values that stay in cache between the two looks at them
    const fp8_divisor by(scale);
    for (std::size_t i = 0; i < in.values(); i += run) {
      const std::size_t count = std::min(run, in.values() - i);
      const std::byte* at = in.data + i * from.bytes;
      if (!is_finite_fold(fold_all<magnitude_fold>(from, at, count)))
        return refuse_not_finite(in);
      fp8_encode_values(from, at, count, by, codes + i);
    }
    return {};
  });
}

status fp8_block_encode(const matrix& in, std::byte* codes, std::byte* scales) {
  return with_source(in.type, [&](auto from) -> status {
    constexpr std::size_t side = fp8::block_side;
    const std::size_t across = blocks_in(in.cols, side);
    for (std::size_t r = 0; r < in.rows; r += side)
      for (std::size_t b = 0; b < across; b += fp8_blocks) {
        const std::size_t c = b * side;
        const std::size_t at = r * in.cols + c;
        const std::size_t count = std::min(fp8_blocks * side, in.cols - c);
        if (!fp8_encode_blocks(from, in.data + at * from.bytes, std::min(side, in.rows - r), count,
                               in.cols, codes + at, scales + (r / side * across + b) * from.bytes))
          return refuse_not_finite(in);
      }
    return {};
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
