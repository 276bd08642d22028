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

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
