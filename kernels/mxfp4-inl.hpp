// MXFP4 in vectors: what both rules share. Values are multiplied by 2^(127 - e), which is exact.

#include "kernels/fp4-inl.hpp"

#if defined(VIVA_KERNELS_MXFP4_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_MXFP4_INL
#undef VIVA_KERNELS_MXFP4_INL
#else
#define VIVA_KERNELS_MXFP4_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// 2^(127 - e) of e in [0, 253].
HWY_INLINE vf32 mxfp4_factor(vi32 e) {
  return hn::BitCast(df32(), hn::ShiftLeft<23>(hn::Sub(hn::Set(di32(), 254), e)));
}

/// f32_from_e8m0 of a batch's bytes. Raises `largest` to them.
HWY_INLINE void e8m0_scales(const std::byte* HWY_RESTRICT at, std::size_t count, vi32& largest,
                            float* HWY_RESTRICT out) {
  const di32 di;
  each_scale_byte(at, count, [&](std::size_t i, vi32 code) {
    largest = hn::Max(largest, code);
    const auto smallest = hn::Set(di, 1 << 22); // 2^-127, a subnormal
    hn::Store(hn::BitCast(df32(), hn::Max(hn::ShiftLeft<23>(code), smallest)), df32(), out + i);
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
