// One group of AWQ's integers, per target: its extremes, its codes, what a code would cost.

#include "kernels/awq.hpp"
#include "kernels/pack-inl.hpp"

#if defined(VIVA_KERNELS_AWQ_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_AWQ_INL
#undef VIVA_KERNELS_AWQ_INL
#else
#define VIVA_KERNELS_AWQ_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

inline constexpr std::size_t awq_parts = awq::sum_lanes / hn::MaxLanes(df32());

/// rint(f16(x / scale)).
HWY_INLINE vf32 awq_quotient(vf32 x, vf32 scale) {
  const df32 d;
  const du32 du;
  const auto q = hn::Min(hn::Max(hn::Div(x, scale), hn::Set(d, -64.0f)), hn::Set(d, 64.0f));
  const auto u = hn::BitCast(du, q);
  const auto odd = hn::And(hn::ShiftRight<13>(u), hn::Set(du, 1u));
  const auto rounded =
      hn::And(hn::Add(hn::Add(u, hn::Set(du, 0xFFFu)), odd), hn::Set(du, ~0x1FFFu));
  const auto magic =
      hn::Set(d, 12582912.0f); // 1.5 2^23: adding it rounds to integers, ties to even
  return hn::Sub(hn::Add(hn::BitCast(d, rounded), magic), magic);
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

/// awq::group_loss_reference, the same additions in the same order.
HWY_INLINE float awq_loss(const float* HWY_RESTRICT x, const float* HWY_RESTRICT weights,
                          std::size_t count, awq::group_code with) {
  const df32 d;
  const auto scale = hn::Set(d, with.scale), zero = hn::Set(d, with.zero);
  HWY_ALIGN float sums[awq::sum_lanes];
  for (std::size_t part = 0; part < awq_parts; ++part) {
    auto sum = hn::Zero(d);
    for (std::size_t i = part * lanes(); i < count; i += awq::sum_lanes) {
      const auto v = hn::LoadU(d, x + i);
      const auto decoded = hn::Mul(hn::Sub(awq_codes(v, scale, zero), zero), scale);
      const auto error = hn::Sub(decoded, v);
      sum = hn::Add(sum, hn::Mul(hn::LoadU(d, weights + i), hn::Mul(error, error)));
    }
    hn::Store(sum, d, sums + part * lanes());
  }
  for (std::size_t half = awq::sum_lanes / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i)
      sums[i] += sums[i + half];
  return sums[0];
}

/// The best of the first `steps` codes.
HWY_INLINE awq::group_code awq_best(const float* HWY_RESTRICT x, const float* HWY_RESTRICT weights,
                                    std::size_t count, const awq::group_range& range, int steps) {
  auto best = awq::code_of(range, 0);
  if (steps == 1)
    return best;
  float least = awq_loss(x, weights, count, best);
  for (int i = 1; i < steps; ++i) {
    const auto tried = awq::code_of(range, i);
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
