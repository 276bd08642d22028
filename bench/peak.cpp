#include "bench/peak.hpp"

#include "bench/processor_time.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peak.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using f32s = hn::ScalableTag<float>;

/// Runs `steps` rounds of twelve independent sums: more than latency times units, fewer than
/// registers. The result depends on every one of them. Operations done per round.
double fma_rounds(unsigned steps, float factor, float* result) {
  const f32s d;
  const auto a = hn::Set(d, factor), b = hn::Set(d, 1 - factor);
  auto s0 = hn::Iota(d, 0), s1 = hn::Iota(d, 1), s2 = hn::Iota(d, 2), s3 = hn::Iota(d, 3);
  auto s4 = hn::Iota(d, 4), s5 = hn::Iota(d, 5), s6 = hn::Iota(d, 6), s7 = hn::Iota(d, 7);
  auto s8 = hn::Iota(d, 8), s9 = hn::Iota(d, 9), s10 = hn::Iota(d, 10), s11 = hn::Iota(d, 11);
  for (unsigned i = 0; i < steps; ++i) {
    s0 = hn::MulAdd(s0, a, b);
    s1 = hn::MulAdd(s1, a, b);
    s2 = hn::MulAdd(s2, a, b);
    s3 = hn::MulAdd(s3, a, b);
    s4 = hn::MulAdd(s4, a, b);
    s5 = hn::MulAdd(s5, a, b);
    s6 = hn::MulAdd(s6, a, b);
    s7 = hn::MulAdd(s7, a, b);
    s8 = hn::MulAdd(s8, a, b);
    s9 = hn::MulAdd(s9, a, b);
    s10 = hn::MulAdd(s10, a, b);
    s11 = hn::MulAdd(s11, a, b);
  }
  const auto low = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(s4, s5));
  const auto high = hn::Add(hn::Add(hn::Add(s6, s7), hn::Add(s8, s9)), hn::Add(s10, s11));
  *result = hn::GetLane(hn::SumOfLanes(d, hn::Add(low, high)));
  return 12.0 * 2.0 * static_cast<double>(hn::Lanes(d));
}

} // namespace viva::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::bench {

HWY_EXPORT(fma_rounds);

double fma_flops_per_s() {
  constexpr unsigned steps = 2'000'000;
  volatile float factor = 0.999f;
  volatile float sink = 0;
  float result = 0;
  const double began = processor_seconds();
  const double each = HWY_DYNAMIC_DISPATCH(fma_rounds)(steps, factor, &result);
  sink = result;
  return each * steps / (processor_seconds() - began + 0 * sink);
}

} // namespace viva::bench
#endif
