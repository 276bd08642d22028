// E4M3 and E2M1 in vectors: what minifloat.hpp says, lane by lane.
//
// Rounding by a sum: let P be the power of two at or below |x|. In s = |x| + P 2^k the last bit of
// the mantissa weighs P 2^(k - 23), so the hardware's own rounding, ties to even, leaves |x| in
// those units in the low bits of s, and the exponent above them. s + (s >> (23 - bits)) adds the
// two up to the code, and carries and subnormals (P is held at the smallest normal) come out right.

#include "kernels/minifloat.hpp"
#include "kernels/pack-inl.hpp"

#if defined(VIVA_KERNELS_MINIFLOAT_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_MINIFLOAT_INL
#undef VIVA_KERNELS_MINIFLOAT_INL
#else
#define VIVA_KERNELS_MINIFLOAT_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// A magnitude, what it was rounded to, and the sum whose low bits hold the code.
struct rounded_bits {
  vf32 magnitude; ///< Not above the format's largest.
  vf32 power;     ///< The power of two at or below it, at least the format's smallest normal.
  vf32 sum;
};

/// `largest` and `smallest` are the format's largest value and smallest normal; `grid` is 2^20 for
/// three mantissa bits, 2^22 for one. The products are exact, so fused or not is the same.
HWY_INLINE rounded_bits round_magnitude(vf32 x, float largest, float smallest, float grid) {
  const df32 d;
  const di32 di;
  const auto a = hn::Min(hn::Abs(x), hn::Set(d, largest));
  const auto exponent = hn::And(hn::BitCast(di, a), hn::Set(di, 0x7F800000));
  const auto power = hn::Max(hn::BitCast(d, exponent), hn::Set(d, smallest));
  return {a, power, hn::MulAdd(power, hn::Set(d, grid), a)};
}

HWY_INLINE rounded_bits round_e4m3(vf32 x) {
  return round_magnitude(x, e4m3_max, 0x1p-6f, 0x1p20f);
}
HWY_INLINE rounded_bits round_e2m1(vf32 x) {
  return round_magnitude(x, e2m1_max, 1.0f, 0x1p22f);
}

/// The value that was rounded to; `grid` as above. Exact.
HWY_INLINE vf32 rounded_value(const rounded_bits& r, float grid) {
  return hn::NegMulAdd(r.power, hn::Set(df32(), grid), r.sum);
}

/// e4m3_from_f32 of finite lanes. `r` is round_e4m3(x).
HWY_INLINE vi32 e4m3_codes(vf32 x, const rounded_bits& r) {
  const di32 di;
  const auto s = hn::BitCast(du32(), r.sum);
  const auto code = hn::BitCast(di, hn::Add(s, hn::ShiftRight<20>(s)));
  const auto magnitude_bits_of = hn::And(hn::Sub(code, hn::Set(di, 1128)), hn::Set(di, 0x7F));
  const auto sign = hn::ShiftRight<24>(hn::And(hn::BitCast(du32(), x), hn::Set(du32(), 1u << 31)));
  return hn::Or(magnitude_bits_of, hn::BitCast(di, sign));
}
HWY_INLINE vi32 e4m3_codes(vf32 x) {
  return e4m3_codes(x, round_e4m3(x));
}

/// f32_from_e4m3 of lanes in [0, 255] that are no NaN.
HWY_INLINE vf32 e4m3_values(vi32 code) {
  const df32 d;
  const di32 di;
  const auto sign = hn::ShiftLeft<24>(hn::And(code, hn::Set(di, 0x80)));
  const auto magnitude_of = hn::ShiftLeft<20>(hn::And(code, hn::Set(di, 0x7F)));
  const auto normal = hn::Add(magnitude_of, hn::Set(di, 120 << 23));
  // One exponent more and 2^-6 less turns the hidden bit of a subnormal off.
  const auto raised = hn::BitCast(d, hn::Add(magnitude_of, hn::Set(di, 121 << 23)));
  const auto subnormal = hn::BitCast(di, hn::Sub(raised, hn::Set(d, 0x1p-6f)));
  const auto small = hn::Lt(magnitude_of, hn::Set(di, 8 << 20));
  return hn::BitCast(d, hn::Or(hn::IfThenElse(small, subnormal, normal), sign));
}

/// The magnitude bits of an E2M1 code, 0 to 7.
HWY_INLINE vi32 e2m1_magnitude_codes(const rounded_bits& r) {
  const auto s = hn::BitCast(du32(), r.sum);
  const auto code = hn::BitCast(di32(), hn::Add(s, hn::ShiftRight<22>(s)));
  return hn::And(hn::Sub(code, hn::Set(di32(), 298)), hn::Set(di32(), 7));
}

/// e2m1_from_f32 of finite lanes. `r` is round_e2m1(x).
HWY_INLINE vi32 e2m1_codes(vf32 x, const rounded_bits& r) {
  const auto sign = hn::ShiftRight<28>(hn::And(hn::BitCast(du32(), x), hn::Set(du32(), 1u << 31)));
  return hn::Or(e2m1_magnitude_codes(r), hn::BitCast(di32(), sign));
}
HWY_INLINE vi32 e2m1_codes(vf32 x) {
  return e2m1_codes(x, round_e2m1(x));
}

/// ggml_e2m1 (ggml_fp4.hpp) of finite lanes: where a tie was rounded_bits up, one less; no -0.
HWY_INLINE vi32 e2m1_towards_zero_codes(vf32 x) {
  const df32 d;
  const di32 di;
  const auto r = round_e2m1(x);
  const auto up = hn::Sub(rounded_value(r, 0x1p22f), r.magnitude); // at most a quarter of the power
  const auto tie = hn::Eq(up, hn::Mul(r.power, hn::Set(d, 0.25f)));
  const auto code = hn::Add(e2m1_magnitude_codes(r), hn::BitCast(di, hn::VecFromMask(d, tie)));
  const auto sign = hn::ShiftRight<28>(hn::And(hn::BitCast(du32(), x), hn::Set(du32(), 1u << 31)));
  return hn::IfThenElseZero(hn::Gt(code, hn::Zero(di)), hn::Or(code, hn::BitCast(di, sign)));
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
