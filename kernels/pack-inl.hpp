// Integer lanes to bytes and nibbles, and 16-entry tables: what Highway 1.0.3 lacks or does in more
// instructions. Raw instructions on x86, plain Highway elsewhere; lanes always stay in order.

#include "kernels/simd-inl.hpp"

#if defined(VIVA_KERNELS_PACK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_PACK_INL
#undef VIVA_KERNELS_PACK_INL
#else
#define VIVA_KERNELS_PACK_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

#define VIVA_X86_128 (HWY_TARGET == HWY_SSSE3 || HWY_TARGET == HWY_SSE4)
#define VIVA_X86_256 (HWY_TARGET == HWY_AVX2)
#define VIVA_X86_512 (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL)

using di8 = hn::Repartition<std::int8_t, df32>;
using du8 = hn::Repartition<std::uint8_t, df32>;
using di16 = hn::Repartition<std::int16_t, df32>;
using du16 = hn::Repartition<std::uint16_t, df32>;
using vi8 = hn::Vec<di8>;
using vu8 = hn::Vec<du8>;
using vi16 = hn::Vec<di16>;
using vu16 = hn::Vec<du16>;

// -- f32 to i32, for magnitudes below 2^31 ------------------------------------------------------

/// rint(x): ties to even. One instruction, where Highway adds four to mend overflows.
HWY_INLINE vi32 nearest_i32(vf32 x) {
#if VIVA_X86_128
  return vi32{_mm_cvtps_epi32(x.raw)};
#elif VIVA_X86_256
  return vi32{_mm256_cvtps_epi32(x.raw)};
#elif VIVA_X86_512
  return vi32{_mm512_cvtps_epi32(x.raw)};
#else
  return hn::NearestInt(x);
#endif
}

/// trunc(x).
HWY_INLINE vi32 truncated_i32(vf32 x) {
#if VIVA_X86_128
  return vi32{_mm_cvttps_epi32(x.raw)};
#elif VIVA_X86_256
  return vi32{_mm256_cvttps_epi32(x.raw)};
#elif VIVA_X86_512
  return vi32{_mm512_cvttps_epi32(x.raw)};
#else
  return hn::ConvertTo(di32(), x);
#endif
}

/// t - rint(t), exact for |t| < 2^22; `nearest` is nearest_i32(t).
HWY_INLINE vf32 beside_nearest(vf32 t, vi32 nearest) {
#if VIVA_X86_512
  static_cast<void>(nearest);
  return vf32{_mm512_reduce_ps(t.raw, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
#else
  return hn::Sub(t, hn::ConvertTo(df32(), nearest));
#endif
}

// -- packs --------------------------------------------------------------------------------------

/// 128-bit parts come out of x86 packs interleaved; this puts groups of four bytes back in order.
template <class V>
HWY_INLINE V mend_pack4(V packed) {
#if VIVA_X86_256
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return V{_mm256_permutevar8x32_epi32(packed.raw, order)};
#elif VIVA_X86_512
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return V{_mm512_permutexvar_epi32(order, packed.raw)};
#else
  return packed;
#endif
}

/// Four vectors of i32 as bytes of tag D, saturated, where there is no better way.
template <class D>
HWY_INLINE hn::Vec<D> pack_by_quarters(vi32 a, vi32 b, vi32 c, vi32 d) {
  const hn::Rebind<hn::TFromD<D>, di32> quarter;
  HWY_ALIGN hn::TFromD<D> bytes[hn::MaxLanes(D())];
  hn::StoreU(hn::DemoteTo(quarter, a), quarter, bytes);
  hn::StoreU(hn::DemoteTo(quarter, b), quarter, bytes + lanes());
  hn::StoreU(hn::DemoteTo(quarter, c), quarter, bytes + 2 * lanes());
  hn::StoreU(hn::DemoteTo(quarter, d), quarter, bytes + 3 * lanes());
  return hn::Load(D(), bytes);
}

/// Four vectors of i32 as bytes, each saturated to [-128, 127].
HWY_INLINE vi8 pack_i8(vi32 a, vi32 b, vi32 c, vi32 d) {
#if VIVA_X86_128
  return vi8{_mm_packs_epi16(_mm_packs_epi32(a.raw, b.raw), _mm_packs_epi32(c.raw, d.raw))};
#elif VIVA_X86_256
  return mend_pack4(
      vi8{_mm256_packs_epi16(_mm256_packs_epi32(a.raw, b.raw), _mm256_packs_epi32(c.raw, d.raw))});
#elif VIVA_X86_512
  return mend_pack4(
      vi8{_mm512_packs_epi16(_mm512_packs_epi32(a.raw, b.raw), _mm512_packs_epi32(c.raw, d.raw))});
#else
  return pack_by_quarters<di8>(a, b, c, d);
#endif
}

/// Four vectors of i32 in [0, 255] as bytes.
HWY_INLINE vu8 pack_u8(vi32 a, vi32 b, vi32 c, vi32 d) {
#if VIVA_X86_128
  return vu8{_mm_packus_epi16(_mm_packs_epi32(a.raw, b.raw), _mm_packs_epi32(c.raw, d.raw))};
#elif VIVA_X86_256
  return mend_pack4(
      vu8{_mm256_packus_epi16(_mm256_packs_epi32(a.raw, b.raw), _mm256_packs_epi32(c.raw, d.raw))});
#elif VIVA_X86_512
  return mend_pack4(
      vu8{_mm512_packus_epi16(_mm512_packs_epi32(a.raw, b.raw), _mm512_packs_epi32(c.raw, d.raw))});
#else
  return pack_by_quarters<du8>(a, b, c, d);
#endif
}

/// The low bytes of four vectors of i32, whatever the others hold.
HWY_INLINE vu8 pack_low_bytes(vi32 a, vi32 b, vi32 c, vi32 d) {
#if HWY_TARGET == HWY_AVX3_DL
  alignas(64) static constexpr struct low_bytes {
    std::uint8_t index[64];
    constexpr low_bytes() : index() {
      for (int i = 0; i < 64; ++i)
        index[i] = static_cast<std::uint8_t>(4 * (i % 32));
    }
  } every_fourth;
  const __m512i index = _mm512_load_si512(every_fourth.index);
  const __m512i lower = _mm512_permutex2var_epi8(a.raw, index, b.raw);
  const __m512i upper = _mm512_permutex2var_epi8(c.raw, index, d.raw);
  return vu8{_mm512_mask_mov_epi64(lower, 0xF0, upper)};
#else
  const auto low = hn::Set(di32(), 255);
  return pack_u8(hn::And(a, low), hn::And(b, low), hn::And(c, low), hn::And(d, low));
#endif
}

/// Two vectors of u16 in [0, 255] as bytes.
HWY_INLINE vu8 pack_u16(vu16 a, vu16 b) {
#if VIVA_X86_128
  return vu8{_mm_packus_epi16(a.raw, b.raw)};
#elif VIVA_X86_256
  return vu8{_mm256_permute4x64_epi64(_mm256_packus_epi16(a.raw, b.raw), 0xD8)};
#elif VIVA_X86_512
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  return vu8{_mm512_permutexvar_epi64(order, _mm512_packus_epi16(a.raw, b.raw))};
#else
  const hn::Rebind<std::uint8_t, di16> half;
  HWY_ALIGN std::uint8_t bytes[hn::MaxLanes(du8())];
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(di16(), a)), half, bytes);
  hn::StoreU(hn::DemoteTo(half, hn::BitCast(di16(), b)), half, bytes + hn::MaxLanes(du16()));
  return hn::Load(du8(), bytes);
#endif
}

/// Each pair of bytes below 16 as one u16: the first in the high nibble.
HWY_INLINE vu16 pair_nibbles_high_first(vu8 codes) {
#if VIVA_X86_128
  return vu16{_mm_maddubs_epi16(codes.raw, _mm_set1_epi16(0x0110))};
#elif VIVA_X86_256
  return vu16{_mm256_maddubs_epi16(codes.raw, _mm256_set1_epi16(0x0110))};
#elif VIVA_X86_512
  return vu16{_mm512_maddubs_epi16(codes.raw, _mm512_set1_epi16(0x0110))};
#else
  const auto v = hn::BitCast(du16(), codes);
  return hn::And(hn::Or(hn::ShiftLeft<4>(v), hn::ShiftRight<8>(v)), hn::Set(du16(), 0xFF));
#endif
}

/// Each pair of bytes below 16 as one u16: the first in the low nibble.
HWY_INLINE vu16 pair_nibbles_low_first(vu8 codes) {
#if VIVA_X86_128
  return vu16{_mm_maddubs_epi16(codes.raw, _mm_set1_epi16(0x1001))};
#elif VIVA_X86_256
  return vu16{_mm256_maddubs_epi16(codes.raw, _mm256_set1_epi16(0x1001))};
#elif VIVA_X86_512
  return vu16{_mm512_maddubs_epi16(codes.raw, _mm512_set1_epi16(0x1001))};
#else
  const auto v = hn::BitCast(du16(), codes);
  return hn::And(hn::Or(v, hn::ShiftRight<4>(v)), hn::Set(du16(), 0xFF));
#endif
}

// -- tables -------------------------------------------------------------------------------------

/// table[index & 15] for each lane; upper bits of `index` may hold anything.
HWY_INLINE vf32 lookup16(const float* HWY_RESTRICT table, vi32 index) {
#if VIVA_X86_256
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), index.raw);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), index.raw);
  const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index.raw, 28)); // bit 3 as sign
  return vf32{_mm256_blendv_ps(low, high, upper)};
#elif VIVA_X86_512
  return vf32{_mm512_permutexvar_ps(index.raw, _mm512_loadu_ps(table))};
#else
  return hn::GatherIndex(df32(), table, hn::And(index, hn::Set(di32(), 15)));
#endif
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
