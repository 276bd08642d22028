// What decoders share: whole vectors in order, E4M3 codes to f32, nibbles to lanes, tables of 16
// levels that stay in registers, and the scales of a batch of units.
//
// A unit is a run of values with one scale. Scales come in batches, by vectors, so that a unit
// costs one broadcast load; a table of levels is scaled once per unit, and level * scale is the
// same product before and after the look-up.

#include "kernels/minifloat-inl.hpp"
#include "kernels/stream-inl.hpp"

#if defined(VIVA_KERNELS_DECODE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_DECODE_INL
#undef VIVA_KERNELS_DECODE_INL
#else
#define VIVA_KERNELS_DECODE_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Calls put(i) for every whole vector of `count` values, in order. Returns where they end.
template <class Put>
HWY_INLINE std::size_t each_vector(std::size_t count, const Put& put) {
  std::size_t i = 0;
  for (; i + 4 * lanes() <= count; i += 4 * lanes()) {
    VIVA_UNROLL(4)
    for (std::size_t k = 0; k < 4; ++k)
      put(i + k * lanes());
  }
  for (; i + lanes() <= count; i += lanes())
    put(i);
  return i;
}

/// Bytes of `rows` rows of f32 for with_stores: none, where not every row begins at a whole line.
HWY_INLINE std::size_t aligned_row_bytes(std::size_t rows, std::size_t cols) {
  return cols % 16 == 0 ? rows * cols * sizeof(float) : 0;
}

// -- scales -------------------------------------------------------------------------------------

inline constexpr std::size_t scale_batch = 64;

/// f32 of `count` scales, at most a batch. Raises `largest` to their magnitudes' bits.
template <class Source>
HWY_INLINE void load_scales(Source from, const std::byte* HWY_RESTRICT at, std::size_t count,
                            vi32& largest, float* HWY_RESTRICT out) {
  HWY_ALIGN std::byte rest[16 * 4] = {};
  const auto put = [&](std::size_t i, const std::byte* of) {
    const auto v = load(from, of);
    largest = hn::Max(largest, hn::BitCast(di32(), hn::Abs(v)));
    hn::Store(v, df32(), out + i);
  };
  const std::size_t whole = count / lanes() * lanes();
  for (std::size_t i = 0; i < whole; i += lanes())
    put(i, at + i * from.bytes);
  if (whole != count) {
    copy_bytes(rest, at + whole * from.bytes, (count - whole) * from.bytes);
    put(whole, rest);
  }
}

/// Whether all magnitudes whose bits `largest` was raised to are numbers.
HWY_INLINE bool all_finite(vi32 largest) {
  return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), infinity_bits)));
}

/// Calls unit(u, scale) for each of `units` scales of `type`. False, where one is not finite.
template <class Unit>
HWY_INLINE bool each_scale(dtype type, const std::byte* scales, std::size_t units,
                           const Unit& unit) {
  return with_source(type, [&](auto from) {
    auto largest = hn::Zero(di32());
    for (std::size_t first = 0; first < units; first += scale_batch) {
      const std::size_t count = std::min(scale_batch, units - first);
      HWY_ALIGN float scale[scale_batch];
      load_scales(from, scales + first * from.bytes, count, largest, scale);
      for (std::size_t u = 0; u < count; ++u)
        unit(first + u, scale[u]);
    }
    return all_finite(largest);
  });
}

// -- bytes --------------------------------------------------------------------------------------

/// f32 of `lanes()` signed bytes.
HWY_INLINE vf32 signed_bytes(const std::byte* HWY_RESTRICT at) {
  const hn::Rebind<std::int8_t, df32> quarter;
  const auto q = hn::LoadU(quarter, reinterpret_cast<const std::int8_t*>(at));
  return hn::ConvertTo(df32(), hn::PromoteTo(di32(), q));
}

/// code * scale of `count` signed bytes. With stores past the cache, `out` and the lengths of all
/// runs before it are multiples of 16 values.
template <class Stores>
HWY_INLINE void decode_signed_bytes(const std::byte* HWY_RESTRICT codes, std::size_t count,
                                    float scale, float* HWY_RESTRICT out) {
  const auto scales = hn::Set(df32(), scale);
  const std::size_t whole = each_vector(count, [&](std::size_t i) {
    Stores::put(hn::Mul(signed_bytes(codes + i), scales), df32(), out + i);
  });
  for (std::size_t i = whole; i < count; ++i)
    out[i] = static_cast<float>(load_as<std::int8_t>(codes + i)) * scale;
}

/// f32_from_e4m3 of `lanes()` bytes that are no NaN, divided by 256. An E4M3 code, moved up by 7
/// bits, is the f16 of that; subnormals too, at full speed on every CPU.
HWY_INLINE vf32 e4m3_256ths(const std::byte* HWY_RESTRICT at) {
#if VIVA_X86_256
  const __m128i code = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
  const __m128i sign_twice = _mm_srai_epi16(_mm_slli_epi16(_mm_cvtepu8_epi16(code), 8), 1);
  const __m128i half = _mm_and_si128(sign_twice, _mm_set1_epi16(static_cast<short>(0xBFFF)));
  return vf32{_mm256_cvtph_ps(half)};
#elif VIVA_X86_512
  const __m128i code = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  const __m256i sign_twice = _mm256_srai_epi16(_mm256_slli_epi16(_mm256_cvtepu8_epi16(code), 8), 1);
  const __m256i half = _mm256_and_si256(sign_twice, _mm256_set1_epi16(static_cast<short>(0xBFFF)));
  return vf32{_mm512_cvtph_ps(half)};
#else
  const hn::Rebind<std::uint8_t, df32> quarter;
  const auto code = hn::LoadU(quarter, reinterpret_cast<const std::uint8_t*>(at));
  return hn::Mul(e4m3_values(hn::PromoteTo(di32(), code)), hn::Set(df32(), 0x1p-8f));
#endif
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
