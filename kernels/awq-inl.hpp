// One group of AWQ's integers, per target: its extremes, its codes, what a code would cost.

#include "kernels/awq.hpp"
#include "kernels/pack-inl.hpp"

#include <array>

#if defined(VIVA_KERNELS_AWQ_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_AWQ_INL
#undef VIVA_KERNELS_AWQ_INL
#else
#define VIVA_KERNELS_AWQ_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

inline constexpr std::size_t awq_parts = awq::sum_lanes / hn::MaxLanes(df32());

/// rint(f16(q)), for |q| <= 64.
HWY_INLINE vf32 awq_rounded(vf32 q) {
  const df32 d;
  const du32 du;
  const auto u = hn::BitCast(du, q);
  const auto odd = hn::And(hn::ShiftRight<13>(u), hn::Set(du, 1u));
  const auto rounded =
      hn::And(hn::Add(hn::Add(u, hn::Set(du, 0xFFFu)), odd), hn::Set(du, ~0x1FFFu));
  const auto magic =
      hn::Set(d, 12582912.0f); // 1.5 2^23: adding it rounds to integers, ties to even
  return hn::Sub(hn::Add(hn::BitCast(d, rounded), magic), magic);
}

HWY_INLINE vf32 awq_within_64(vf32 q) {
  return hn::Min(hn::Max(q, hn::Set(df32(), -64.0f)), hn::Set(df32(), 64.0f));
}

/// rint(f16(x / scale)).
HWY_INLINE vf32 awq_quotient(vf32 x, vf32 scale) {
  return awq_rounded(awq_within_64(hn::Div(x, scale)));
}

/// Codes, 0 to 15.
HWY_INLINE vf32 awq_codes(vf32 x, vf32 scale, vf32 zero) {
  const df32 d;
  const auto q = hn::Add(awq_quotient(x, scale), zero);
  return hn::Min(hn::Max(q, hn::Zero(d)), hn::Set(d, 15.0f));
}

/// awq::range_of_reference; also the largest magnitude's bits, which tell NaN and infinity.
HWY_INLINE awq::group_range awq_range(const float* HWY_RESTRICT x, std::size_t count,
                                      bool& finite) {
  const df32 d;
  auto lo = hn::Zero(d), hi = hn::Zero(d);
  auto magnitude = hn::Zero(di32());
  for (std::size_t i = 0; i < count; i += lanes()) {
    const auto v = hn::LoadU(d, x + i);
    lo = hn::Min(lo, v);
    hi = hn::Max(hi, v);
    magnitude = hn::Max(magnitude, hn::BitCast(di32(), hn::Abs(v)));
  }
  const auto bits = hn::GetLane(hn::MaxOfLanes(di32(), magnitude));
  finite = finite && bits < static_cast<std::int32_t>(infinity_bits);
  // + 0: both zeros are one value to the reference.
  return {hn::GetLane(hn::MinOfLanes(d, lo)) + 0.0f, hn::GetLane(hn::MaxOfLanes(d, hi)) + 0.0f,
          float_of(static_cast<std::uint32_t>(bits))};
}

/// awq::code_of of as many ranges as there are lanes, each clipped to +-limit.
HWY_INLINE void awq_store_group_codes(vf32 lo, vf32 hi, vf32 limit, float* HWY_RESTRICT scale,
                                      float* HWY_RESTRICT zero) {
  const df32 d;
  const auto largest = hn::Set(d, 65504.0f);
  lo = hn::Max(lo, hn::Neg(limit));
  const auto apart = hn::Sub(hn::Min(hi, limit), lo);
  const auto width = hn::IfThenElse(hn::Lt(apart, largest), f16_rounded(apart), apart);
  const auto wanted = hn::Div(hn::Max(width, hn::Set(d, 1e-5f)), hn::Set(d, 15.0f));
  const auto held = hn::IfThenElse(hn::Lt(wanted, largest), f16_rounded(wanted), largest);
  const auto point = hn::Neg(awq_quotient(lo, held));
  hn::Store(held, d, scale);
  hn::Store(hn::Min(hn::Max(point, hn::Zero(d)), hn::Set(d, 15.0f)), d, zero);
}

/// Upper halves added to lower ones until one lane stays.
template <class D, class V>
HWY_INLINE float awq_folded(D d, V v) {
  if constexpr (hn::MaxLanes(D{}) == 4) {
    HWY_ALIGN float four[4];
    hn::Store(v, d, four);
    return (four[0] + four[2]) + (four[1] + four[3]);
  } else {
    const hn::Half<D> half;
    return awq_folded(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// awq::group_loss_reference, the same additions in the same order. Without `Divides`, products by
/// the reciprocal stand for quotients, two units of the last place off at most; false where one is
/// so near the middle of two f16 that its quotient might be on the other side.
template <bool Divides>
HWY_INLINE bool awq_loss_by(const float* HWY_RESTRICT x, const float* HWY_RESTRICT weights,
                            std::size_t count, awq::group_code with, float& loss) {
  const df32 d;
  const di32 di;
  const auto scale = hn::Set(d, with.scale), inverse = hn::Set(d, 1.0f / with.scale);
  // A code's integer, from its zero point on.
  const auto low = hn::Set(d, 0.0f - with.zero), high = hn::Set(d, 15.0f - with.zero);
  auto beside = hn::Set(di, 0x1FFF); // least distance from two units below a middle on
  vf32 sums[awq_parts];
  VIVA_UNROLL(4)
  for (std::size_t part = 0; part < awq_parts; ++part)
    sums[part] = hn::Zero(d);
  for (std::size_t first = 0; first < count; first += awq::sum_lanes) {
    VIVA_UNROLL(4)
    for (std::size_t part = 0; part < awq_parts; ++part) {
      const std::size_t i = first + part * lanes();
      const auto v = hn::LoadU(d, x + i);
      const auto q = awq_within_64(Divides ? hn::Div(v, scale) : hn::Mul(v, inverse));
      if constexpr (!Divides)
        beside = hn::Min(beside, hn::And(hn::Sub(hn::BitCast(di, q), hn::Set(di, 0x1000 - 2)),
                                         hn::Set(di, 0x1FFF)));
      const auto integer = hn::Min(hn::Max(awq_rounded(q), low), high);
      const auto error = hn::Sub(hn::Mul(integer, scale), v);
      const auto square = hn::Mul(error, error);
      sums[part] = hn::Add(sums[part], hn::Mul(hn::LoadU(d, weights + i), square));
    }
  }
  VIVA_UNROLL(2)
  for (std::size_t half = awq_parts / 2; half != 0; half /= 2)
    for (std::size_t part = 0; part < half; ++part)
      sums[part] = hn::Add(sums[part], sums[part + half]);
  loss = awq_folded(d, sums[0]);
  return Divides || hn::AllTrue(di, hn::Gt(beside, hn::Set(di, 4)));
}

HWY_INLINE float awq_loss(const float* HWY_RESTRICT x, const float* HWY_RESTRICT weights,
                          std::size_t count, awq::group_code with) {
  float loss = 0;
  if (HWY_UNLIKELY(!is_finite(1.0f / with.scale)
                   || !awq_loss_by<false>(x, weights, count, with, loss)))
    awq_loss_by<true>(x, weights, count, with, loss);
  return loss;
}

/// The best of the first `steps` codes, all of which are made at once: one by one, by the scalar
/// rule, they took most of the search's time.
HWY_INLINE awq::group_code awq_best(const float* HWY_RESTRICT x, const float* HWY_RESTRICT weights,
                                    std::size_t count, const awq::group_range& range, int steps) {
  static_assert(awq::shrinks <= 16);
  alignas(64) static constexpr auto kept = [] {
    std::array<float, 16> all{};
    for (int i = 0; i < 16; ++i)
      all[static_cast<std::size_t>(i)] = static_cast<float>(20 - i) / 20.0f;
    return all;
  }();
  const df32 d;
  HWY_ALIGN float scale[16] = {}, zero[16] = {};
  for (std::size_t i = 0; i < static_cast<std::size_t>(steps); i += lanes())
    awq_store_group_codes(hn::Set(d, range.lo), hn::Set(d, range.hi),
                          hn::Mul(hn::Set(d, range.magnitude), hn::Load(d, kept.data() + i)),
                          scale + i, zero + i);
  awq::group_code best{scale[0], zero[0]};
  if (steps == 1)
    return best;
  float least = awq_loss(x, weights, count, best);
  for (int i = 1; i < steps; ++i) {
    const awq::group_code tried{scale[i], zero[i]};
    const float loss = awq_loss(x, weights, count, tried);
    if (loss < least) {
      least = loss;
      best = tried;
    }
  }
  return best;
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
