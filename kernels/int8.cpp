#include "kernels/int8.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int8.cpp"
#include <hwy/foreach_target.h>

#include "kernels/fold-inl.hpp"
#include "kernels/pack-inl.hpp"

#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

/// Values of one step: four vectors become one vector of codes.
constexpr std::size_t int8_step = 4 * hn::MaxLanes(df32());

/// A quotient's distance to the nearest integer up to which a product by the reciprocal has the
/// same code. The product is off by less than 1.5 ulp, 256 2^-23 1.5 < 5e-5 where codes do not
/// saturate.
constexpr float int8_safe_distance = 0.4999f;

/// Codes of one step. Multiplies by the reciprocal and divides only where a quotient lies so near
/// the middle of two codes that the product could have fallen on the other side.
template <class Source>
HWY_INLINE vi8 int8_codes(Source from, const std::byte* HWY_RESTRICT in, vf32 scale, vf32 inverse) {
  const df32 d;
  vf32 x[4];
  vi32 q[4];
  auto distance = hn::Zero(d);
  for (std::size_t k = 0; k < 4; ++k) {
    x[k] = load(from, in + k * lanes() * from.bytes);
    const auto t = hn::Mul(x[k], inverse);
    q[k] = nearest_i32(t);
    distance = hn::Max(distance, hn::Abs(hn::Sub(t, hn::ConvertTo(d, q[k]))));
  }
  if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Le(distance, hn::Set(d, int8_safe_distance)))))
    for (std::size_t k = 0; k < 4; ++k)
      q[k] = nearest_i32(hn::Div(x[k], scale));
  return pack_i8(q[0], q[1], q[2], q[3]); // saturates as the clamp does
}

template <class Source>
bool int8_encode_row(Source from, const std::byte* HWY_RESTRICT in, std::size_t cols,
                     std::byte* HWY_RESTRICT codes, std::byte* HWY_RESTRICT scale_out) {
  const df32 d;
  const std::size_t whole = cols / int8_step * int8_step;
  HWY_ALIGN std::byte rest_in[int8_step * 4] = {};
  copy_bytes(rest_in, in + whole * from.bytes, (cols - whole) * from.bytes);
  const auto amax_bits = std::max(fold_values<magnitude_fold>(from, in, whole),
                                  fold_values<magnitude_fold>(from, rest_in, int8_step));
  if (amax_bits >= static_cast<std::int32_t>(infinity_bits))
    return false;
  const float scale = int8::scale_of(float_of(static_cast<std::uint32_t>(amax_bits)), from.type);
  put_value(scale, from.type, scale_out, 0);
  // A reciprocal that overflows makes every distance NaN or infinite, so every step divides.
  const auto scales = hn::Set(d, scale);
  const auto inverse = hn::Set(d, 1.0f / scale);
  auto* out = reinterpret_cast<std::int8_t*>(codes);
  for (std::size_t i = 0; i < whole; i += int8_step)
    hn::StoreU(int8_codes(from, in + i * from.bytes, scales, inverse), di8(), out + i);
  HWY_ALIGN std::byte rest_out[int8_step];
  hn::Store(int8_codes(from, rest_in, scales, inverse), di8(),
            reinterpret_cast<std::int8_t*>(rest_out));
  copy_bytes(codes + whole, rest_out, cols - whole);
  return true;
}

} // namespace

status int8_encode(const matrix& in, std::span<std::byte* const> out) {
  return with_source(in.type, [&](auto from) -> status {
    for (std::size_t r = 0; r < in.rows; ++r) {
      const auto row = in.slice(r, 1);
      if (!int8_encode_row(from, row.data, in.cols, out[0] + r * in.cols, out[1] + r * from.bytes))
        return refuse_not_finite(in);
    }
    return {};
  });
}

void int8_decode_row(const std::byte* in, std::size_t cols, float scale, float* out) {
  const hn::Rebind<std::int8_t, df32> quarter;
  const auto* codes = reinterpret_cast<const std::int8_t*>(in);
  const auto scales = hn::Set(df32(), scale);
  const auto decode = [&](const std::int8_t* at, float* to) {
    const auto q = hn::PromoteTo(di32(), hn::LoadU(quarter, at));
    hn::StoreU(hn::Mul(hn::ConvertTo(df32(), q), scales), df32(), to);
  };
  std::size_t i = 0;
  for (; i + lanes() <= cols; i += lanes())
    decode(codes + i, out + i);
  for (; i < cols; ++i)
    out[i] = static_cast<float>(codes[i]) * scale;
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(int8_encode);
HWY_EXPORT(int8_decode_row);

namespace int8 {

namespace {

using decode_row_fn = void(const std::byte* codes, std::size_t cols, float scale, float* out);

status decode_rows(const recipe& with, std::size_t rows, std::size_t cols,
                   std::span<const std::byte* const> in, float* out, decode_row_fn* decode_row) {
  for (std::size_t r = 0; r < rows; ++r) {
    const float scale = value_of(in[1], with.source, r);
    if (!is_finite(scale))
      return {errc::malformed};
    decode_row(in[0] + r * cols, cols, scale, out + r * cols);
  }
  return {};
}

} // namespace

geometry shape(const recipe& with, std::uint64_t) {
  using kind = plane::unit_kind;
  const auto scale_bytes = static_cast<std::uint32_t>(bytes_of(with.source));
  return {
      .planes = {plane{"codes", kind::values, 1, 1}, plane{"scales", kind::row, 0, scale_bytes}},
      .planes_count = 2};
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t r = 0; r < in.rows; ++r) {
    const float scale = scale_of(magnitude_max(in, r * in.cols, in.cols), in.type);
    put_value(scale, in.type, out[1], r);
    for (std::size_t i = r * in.cols; i < (r + 1) * in.cols; ++i)
      store_as(code_of(value_of(in, i), scale), out[0] + i);
  }
  return {};
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  return HWY_DYNAMIC_DISPATCH(int8_encode)(in, out);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  return decode_rows(with, rows, cols, in, out,
                     [](const std::byte* codes, std::size_t count, float scale, float* to) {
                       for (std::size_t i = 0; i < count; ++i)
                         to[i] = static_cast<float>(load_as<std::int8_t>(codes + i)) * scale;
                     });
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return decode_rows(with, rows, cols, in, out, HWY_DYNAMIC_DISPATCH(int8_decode_row));
}

} // namespace int8
} // namespace viva::kernels
#endif
