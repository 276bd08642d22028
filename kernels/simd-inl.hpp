// The SIMD vocabulary, compiled once per target inside viva::kernels::HWY_NAMESPACE: loads that
// turn every dtype into f32 vectors, exact roundings, and the packs that Highway 1.0.3 lacks.
//
// Everything here is exact: each function says which scalar expression it equals, lane by lane. A
// vector of f32 has 4, 8 or 16 lanes (CappedTag), so 16 values are always whole vectors.

#include "kernels/scalar.hpp"

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

// One inclusion per target, as Highway's own -inl headers do.
#if defined(VIVA_KERNELS_SIMD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_SIMD_INL
#undef VIVA_KERNELS_SIMD_INL
#else
#define VIVA_KERNELS_SIMD_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// f32 lanes; and their integer twins.
using df32 = hn::CappedTag<float, 16>;
using di32 = hn::RebindToSigned<df32>;
using du32 = hn::RebindToUnsigned<df32>;
using vf32 = hn::Vec<df32>;
using vi32 = hn::Vec<di32>;
using vu32 = hn::Vec<du32>;

HWY_INLINE constexpr std::size_t lanes() {
  return hn::MaxLanes(df32());
}

// -- sources ------------------------------------------------------------------------------------

/// A dtype as a type: kernels are templates over it and see f32 vectors only.
template <dtype Type>
struct source {
  static constexpr dtype type = Type;
  static constexpr std::size_t bytes = bytes_of(Type);
};

/// Calls `body` with the `source` that stands for `type`.
template <class Body>
HWY_INLINE auto with_source(dtype type, const Body& body) {
  switch (type) {
  case dtype::f16:
    return body(source<dtype::f16>{});
  case dtype::bf16:
    return body(source<dtype::bf16>{});
  default:
    return body(source<dtype::f32>{});
  }
}

/// f32 of the f16 bits in the low half of each lane. Exact, NaN and infinity included.
HWY_INLINE vf32 f32_from_f16_bits(vu32 h) {
  const df32 d;
  const du32 du;
  const auto sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(du, 0x8000u)));
  const auto shifted = hn::ShiftLeft<13>(hn::And(h, hn::Set(du, 0x7FFFu)));
  const auto scaled = hn::Mul(hn::BitCast(d, shifted), hn::Set(d, 0x1p112f)); // subnormals too
  const auto special = hn::Gt(hn::BitCast(di32(), shifted), hn::Set(di32(), 0x0F7FFFFF));
  const auto wide = hn::Or(shifted, hn::Set(du, infinity_bits));
  const auto bits = hn::IfThenElse(hn::RebindMask(du, special), wide, hn::BitCast(du, scaled));
  return hn::BitCast(d, hn::Or(bits, sign));
}

/// `lanes()` values from `at` on.
HWY_INLINE vf32 load(source<dtype::f32>, const std::byte* at) {
  return hn::LoadU(df32(), reinterpret_cast<const float*>(at));
}

HWY_INLINE vf32 load(source<dtype::bf16>, const std::byte* at) {
  const hn::Rebind<std::uint16_t, df32> d16;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(at));
  return hn::BitCast(df32(), hn::ShiftLeft<16>(hn::PromoteTo(du32(), bits)));
}

HWY_INLINE vf32 load(source<dtype::f16>, const std::byte* at) {
  const hn::Rebind<std::uint16_t, df32> d16;
  const auto bits = hn::LoadU(d16, reinterpret_cast<const std::uint16_t*>(at));
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const hn::Rebind<hwy::float16_t, df32> dh;
  return hn::PromoteTo(df32(), hn::BitCast(dh, bits)); // one vcvtph2ps
#else
  return f32_from_f16_bits(hn::PromoteTo(du32(), bits));
#endif
}

// -- roundings ----------------------------------------------------------------------------------

/// The bits of bf16_from_f32(x).
HWY_INLINE vu32 bf16_bits(vf32 x) {
  const du32 du;
  const auto u = hn::BitCast(du, x);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(du, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(u, hn::Add(odd, hn::Set(du, 0x7FFFu))));
  const auto quiet = hn::Or(hn::ShiftRight<16>(u), hn::Set(du, 0x40u));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(x)), quiet, rounded);
}

/// The bits of f16_from_f32(x).
HWY_INLINE vu32 f16_bits(vf32 x) {
  const df32 d;
  const du32 du;
  const di32 di;
  const auto bits = hn::BitCast(du, x);
  const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 0x8000u));
  const auto u = hn::BitCast(du, hn::Abs(x));
  const auto above = [&](std::uint32_t limit) { // u >= limit; both below 2^31
    const auto mask = hn::Gt(hn::BitCast(di, u), hn::Set(di, static_cast<std::int32_t>(limit - 1)));
    return hn::RebindMask(du, mask);
  };
  const auto odd = hn::And(hn::ShiftRight<13>(u), hn::Set(du, 1u));
  const auto biased = hn::Add(hn::Sub(u, hn::Set(du, 0x38000000u)), hn::Set(du, 0xFFFu));
  const auto normal = hn::ShiftRight<13>(hn::Add(biased, odd));
  const auto half = hn::Add(hn::BitCast(d, u), hn::Set(d, 0.5f));
  const auto small = hn::Sub(hn::BitCast(du, half), hn::Set(du, 0x3F000000u));
  auto h = hn::IfThenElse(above(0x38800000u), normal, small);
  h = hn::IfThenElse(above(0x477FF000u), hn::Set(du, 0x7C00u), h);
  h = hn::IfThenElse(above(infinity_bits + 1), hn::Set(du, 0x7E00u), h);
  return hn::Or(h, sign);
}

/// rounded_to(x, f16), for numbers.
HWY_INLINE vf32 f16_rounded(vf32 x) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const hn::Rebind<hwy::float16_t, df32> dh;
  return hn::PromoteTo(df32(), hn::DemoteTo(dh, x)); // vcvtps2ph rounds ties to even
#else
  return f32_from_f16_bits(f16_bits(x));
#endif
}

/// rounded_to(x, Type), for numbers.
template <dtype Type>
HWY_INLINE vf32 rounded(source<Type>, vf32 x) {
  if constexpr (Type == dtype::f32)
    return x;
  else if constexpr (Type == dtype::f16)
    return f16_rounded(x);
  else
    return hn::BitCast(df32(), hn::ShiftLeft<16>(bf16_bits(x)));
}

/// Stores the low halves of the lanes.
HWY_INLINE void store_u16(vu32 bits, std::byte* to) {
  const hn::Rebind<std::uint16_t, df32> d16;
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di32(), bits)), d16,
             reinterpret_cast<std::uint16_t*>(to));
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
