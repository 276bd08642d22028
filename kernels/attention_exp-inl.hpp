// The exponential of attention, compiled once per target.

#include "kernels/simd-inl.hpp"

#include <limits>

#if defined(VIVA_KERNELS_ATTENTION_EXP_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ATTENTION_EXP_INL
#undef VIVA_KERNELS_ATTENTION_EXP_INL
#else
#define VIVA_KERNELS_ATTENTION_EXP_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// The greater one; NaN where `t` is.
HWY_INLINE vf32 at_least(vf32 floor, vf32 t) {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128 // maxps: its second operand where one is NaN
  return hn::Max(floor, t);
#else
  return hn::IfThenElse(hn::Lt(t, floor), floor, t);
#endif
}

/// 2^t by a polynomial whose value at 0 is 1, from its highest coefficient down.
template <std::size_t Degree>
HWY_INLINE vf32 exp2_by(vf32 t, const float (&coefficients)[Degree]) {
  const df32 d;
  t = at_least(hn::Set(d, -127.0f), t);
  const auto shift = hn::Set(d, 0x1.8p23f + 127); // the sum's low bits: round(t)'s exponent
  const auto whole = hn::Add(t, shift);
  const auto f = hn::Sub(t, hn::Sub(whole, shift)); // [-0.5, 0.5]
  auto p = hn::Set(d, coefficients[0]);
  VIVA_UNROLL(8)
  for (std::size_t i = 1; i < Degree; ++i)
    p = hn::MulAdd(p, f, hn::Set(d, coefficients[i]));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  // A product: added to its exponent, NaN with low bits would become a number.
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di32(), whole))));
}

/// 2^t within 2.3 ulp (2e-7) for t in [-126, 127.5], exact for whole t; within 2^-148 down to
/// -126.5; exactly 0 there, below and for -inf. NaN for NaN.
HWY_INLINE vf32 exp2(vf32 t) {
  constexpr float coefficients[] = {1.3264726655e-3f, 9.6715126767e-3f, 5.5507337451e-2f,
                                    2.4022242085e-1f, 6.9314697760e-1f};
  return exp2_by(t, coefficients);
}

/// The same within 4e-6, for weights that are rounded to bf16 (2e-3).
HWY_INLINE vf32 exp2_for_bf16(vf32 t) {
  constexpr float coefficients[] = {9.7829125535e-3f, 5.5976883627e-2f, 2.4020711079e-1f,
                                    6.9311360440e-1f};
  return exp2_by(t, coefficients);
}

/// A score and its bias, both in bits; of -inf hides the key, whatever its score is.
HWY_INLINE vf32 biased(vf32 score, vf32 bias) {
  const auto hidden = hn::Set(df32(), -std::numeric_limits<float>::infinity());
  return hn::IfThenElse(hn::Eq(bias, hidden), hidden, hn::Add(score, bias));
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
