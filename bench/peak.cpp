#include "bench/peak.hpp"

#include "bench/processor_time.hpp"
#include "kernels/bf16_unit.hpp"

#include <algorithm>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/peak.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::bench::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using f32s = hn::ScalableTag<float>;

/// Runs `steps` rounds of twelve independent sums: more than latency times units, fewer than
/// registers. The result depends on every one of them. Operations done per round and lane.
template <class Add>
HWY_INLINE double rounds(unsigned steps, float* result, const Add& add) {
  const f32s d;
  auto s0 = hn::Iota(d, 0), s1 = hn::Iota(d, 1), s2 = hn::Iota(d, 2), s3 = hn::Iota(d, 3);
  auto s4 = hn::Iota(d, 4), s5 = hn::Iota(d, 5), s6 = hn::Iota(d, 6), s7 = hn::Iota(d, 7);
  auto s8 = hn::Iota(d, 8), s9 = hn::Iota(d, 9), s10 = hn::Iota(d, 10), s11 = hn::Iota(d, 11);
  for (unsigned i = 0; i < steps; ++i) {
    add(s0);
    add(s1);
    add(s2);
    add(s3);
    add(s4);
    add(s5);
    add(s6);
    add(s7);
    add(s8);
    add(s9);
    add(s10);
    add(s11);
  }
  const auto low = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(s4, s5));
  const auto high = hn::Add(hn::Add(hn::Add(s6, s7), hn::Add(s8, s9)), hn::Add(s10, s11));
  *result = hn::GetLane(hn::SumOfLanes(d, hn::Add(low, high)));
  return 12.0 * 2.0 * static_cast<double>(hn::Lanes(d));
}

double fma_rounds(unsigned steps, float factor, float* result) {
  const f32s d;
  const auto a = hn::Set(d, factor), b = hn::Set(d, 1 - factor);
  return rounds(steps, result, [&](auto& sum) HWY_ATTR { sum = hn::MulAdd(sum, a, b); });
}

/// Four independent sums of products of tiles that stay where they are, and their operations.
double tile_rounds(unsigned steps) {
#if HWY_TARGET == HWY_AVX3_DL && defined(__GNUC__)
  if (kernels::bf16_units().front() != kernels::bf16_unit::tiles)
    return 0;
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14]{};
    std::uint16_t row_bytes[16]{64, 64, 64, 64, 64, 64};
    std::uint8_t rows[16]{16, 16, 16, 16, 16, 16};
  } shape;
  // Numbers from memory, as attention has them, not zeros.
  alignas(64) std::uint16_t values[512];
  for (std::size_t i = 0; i < 512; ++i)
    values[i] = static_cast<std::uint16_t>(0x3C00 + i * 7919 % 997); // bf16 of 2^-7 and more
  asm volatile("ldtilecfg %0\n tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n"
               "tilezero %%tmm3\n tileloadd (%1,%2,1), %%tmm4\n tileloadd (%1,%2,1), %%tmm5"
               :
               : "m"(shape), "r"(values), "r"(std::size_t{64})
               : "memory");
  for (unsigned i = 0; i < steps; ++i)
    asm volatile("tdpbf16ps %tmm5, %tmm4, %tmm0\n tdpbf16ps %tmm5, %tmm4, %tmm1\n"
                 "tdpbf16ps %tmm5, %tmm4, %tmm2\n tdpbf16ps %tmm5, %tmm4, %tmm3");
  asm volatile("tilerelease");
  return 4.0 * 2 * 16 * 16 * 32;
#else
  static_cast<void>(steps);
  return 0;
#endif
}

/// The same of vdpbf16ps, two products a lane; 0 where the target or the processor lacks it.
double pair_rounds(unsigned steps, float factor, float* result) {
#if HWY_TARGET == HWY_AVX3_DL && defined(__GNUC__)
  const f32s d;
  if (!__builtin_cpu_supports("avx512bf16"))
    return 0;
  const auto a = hn::Set(d, factor), b = hn::Set(d, 1 - factor);
  return 2 * rounds(steps, result, [&](auto& sum) HWY_ATTR {
    asm("vdpbf16ps %[b], %[a], %[sum]" : [sum] "+v"(sum.raw) : [a] "v"(a.raw), [b] "v"(b.raw));
  });
#else
  static_cast<void>(steps), static_cast<void>(factor), static_cast<void>(result);
  return 0;
#endif
}

} // namespace viva::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::bench {

HWY_EXPORT(fma_rounds);
HWY_EXPORT(pair_rounds);
HWY_EXPORT(tile_rounds);

namespace {

template <class Rounds>
double flops_per_s(const Rounds& rounds) {
  constexpr unsigned steps = 2'000'000;
  volatile float factor = 0.999f;
  volatile float sink = 0;
  float result = 0;
  const double began = processor_seconds();
  const double each = rounds(steps, factor, &result);
  sink = result;
  return each * steps / (processor_seconds() - began + 0 * sink);
}

} // namespace

double fma_flops_per_s() {
  return flops_per_s(HWY_DYNAMIC_DISPATCH(fma_rounds));
}

double pair_flops_per_s() {
  return flops_per_s(HWY_DYNAMIC_DISPATCH(pair_rounds));
}

double tile_flops_per_s() {
  return flops_per_s([](unsigned steps, float, float*) {
    return HWY_DYNAMIC_DISPATCH(tile_rounds)(steps / 10); // each takes 64 cycles, not 6
  }) / 10;
}

} // namespace viva::bench
#endif
