// The codes of int8 by one scale: exact quotients at the price of products.

#include "kernels/fold-inl.hpp"
#include "kernels/pack-inl.hpp"
#include "kernels/row-inl.hpp"
#include "kernels/stream-inl.hpp"

#if defined(VIVA_KERNELS_INT8_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_INT8_INL
#undef VIVA_KERNELS_INT8_INL
#else
#define VIVA_KERNELS_INT8_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Values of one step: four vectors become one vector of codes.
constexpr std::size_t int8_step = 4 * hn::MaxLanes(df32());

/// A quotient's distance to the nearest integer up to which a product by the reciprocal has the
/// same code. The product is off by less than 1.5 ulp, 256 2^-23 1.5 < 5e-5 where codes do not
/// saturate.
constexpr float int8_safe_distance = 0.4999f;

/// A scale and its reciprocal, which overflows below 2^-128: then only quotients have the codes.
struct int8_divisor {
  vf32 scale, inverse;
  bool divides;

  explicit HWY_INLINE int8_divisor(float by)
      : scale(hn::Set(df32(), by)), inverse(hn::Set(df32(), 1.0f / by)),
        divides(!is_finite(1.0f / by)) {}
};

/// Codes of one step. Multiplies by the reciprocal and divides only where a quotient lies so near
/// the middle of two codes that the product could have fallen on the other side.
template <class Source>
HWY_INLINE vi8 int8_codes(Source from, const std::byte* HWY_RESTRICT in, const int8_divisor& by) {
  const df32 d;
  vf32 x[4];
  vi32 q[4];
  auto distance = hn::Zero(d);
  VIVA_UNROLL(4)
  for (std::size_t k = 0; k < 4; ++k) {
    x[k] = load(from, in + k * lanes() * from.bytes);
    const auto t = hn::Mul(x[k], by.inverse);
    q[k] = nearest_i32(t);
    distance = hn::Max(distance, hn::Abs(beside_nearest(t, q[k])));
  }
  const auto safe = hn::Le(distance, hn::Set(d, int8_safe_distance));
  if (HWY_UNLIKELY(by.divides || !hn::AllTrue(d, safe)))
    VIVA_UNROLL(4)
    for (std::size_t k = 0; k < 4; ++k)
      q[k] = nearest_i32(hn::Div(x[k], by.scale));
  return pack_i8(q[0], q[1], q[2], q[3]); // saturates as the clamp does
}

/// Codes of `count` finite values by one scale.
template <class Stores = cached_stores, class Source>
HWY_INLINE void int8_encode_values(Source from, const std::byte* HWY_RESTRICT in, std::size_t count,
                                   float scale, std::byte* HWY_RESTRICT codes) {
  const std::size_t whole = count / int8_step * int8_step;
  const std::size_t ahead = one_look_ahead(count * from.bytes);
  const int8_divisor by(scale);
  auto* out = reinterpret_cast<std::int8_t*>(codes);
  for (std::size_t i = 0; i < whole; i += int8_step) {
    prefetch_row_for_later(in + i * from.bytes + ahead, int8_step * from.bytes);
    Stores::put(int8_codes(from, in + i * from.bytes, by), di8(), out + i);
  }
  if (whole == count)
    return;
  HWY_ALIGN std::byte rest_in[int8_step * 4] = {};
  HWY_ALIGN std::byte rest_out[int8_step];
  copy_bytes(rest_in, in + whole * from.bytes, (count - whole) * from.bytes);
  hn::Store(int8_codes(from, rest_in, by), di8(), reinterpret_cast<std::int8_t*>(rest_out));
  copy_bytes(codes + whole, rest_out, count - whole);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
