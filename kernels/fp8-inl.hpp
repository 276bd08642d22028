// E4M3 codes of values that share a scale, four vectors at a time.
//
// Times 2^-120, E4M3's numbers are f32's with three bits of mantissa: the same exponents below 16,
// the same subnormals. So x * (2^-120 / scale), rounded to 20 bits less, is the code and its sign:
//
//   31   30 … 27   26 … 20   19 … 0
//   s    0000      code      half and more rounds up
//
// The product is off by at most two units of the last place, so only within eight of a half could
// the quotient x / scale have the other code. There (15 values in a million) a step divides.

#include "kernels/fp8.hpp"
#include "kernels/minifloat-inl.hpp"
#include "kernels/row-inl.hpp"
#include "kernels/stream-inl.hpp"

#if defined(VIVA_KERNELS_FP8_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_FP8_INL
#undef VIVA_KERNELS_FP8_INL
#else
#define VIVA_KERNELS_FP8_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Values of one step: four vectors become one vector of codes.
inline constexpr std::size_t fp8_step = 4 * hn::MaxLanes(df32());

/// The scale of values of magnitudes up to `amax`.
struct fp8_divisor {
  float scale = 1;
  float inverse = 0x1p-120f; ///< 2^-120 / scale.
  bool regular = true;       ///< The reciprocal is no subnormal, and nothing saturates.

  fp8_divisor() = default;
  HWY_INLINE fp8_divisor(float by, float amax)
      : scale(by), inverse(0x1p-120f / by), regular(by <= 64 && amax <= 460 * by) {}
};

/// Codes of one step by division.
template <class Source>
HWY_NOINLINE vu8 fp8_divided_codes(Source from, const std::byte* HWY_RESTRICT in, float scale) {
  const auto by = hn::Set(df32(), scale);
  const auto code = [&](std::size_t k) HWY_ATTR {
    return e4m3_codes(hn::Div(load(from, in + k * lanes() * from.bytes), by));
  };
  return pack_u8(code(0), code(1), code(2), code(3));
}

/// Bits 20 to 26 of each lane and its sign, as bytes in order; bits 27 to 30 are zero.
HWY_INLINE vu8 fp8_bytes(const vi32 (&w)[4]) {
#if VIVA_X86_512
  alignas(64) static constexpr std::uint16_t upper_words[32] = {
      1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
      33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
  const auto words = [&](std::size_t k) HWY_ATTR {
    const __m512i order = _mm512_load_si512(upper_words);
    const __m512i word = _mm512_permutex2var_epi16(w[k].raw, order, w[k + 1].raw);
    const __m512i code = _mm512_srli_epi16(word, 4);
    const __m512i sign = _mm512_srli_epi16(word, 8);
    return vu16{_mm512_ternarylogic_epi32(_mm512_set1_epi16(0x7F), code, sign, 0xCA)}; // a ? b : c
  };
  return pack_u16(words(0), words(2));
#elif VIVA_X86_256
  const auto words = [&](std::size_t k) HWY_ATTR {
    const __m256i word =
        _mm256_packs_epi32(_mm256_srai_epi32(w[k].raw, 16), _mm256_srai_epi32(w[k + 1].raw, 16));
    const __m256i code = _mm256_and_si256(_mm256_srli_epi16(word, 4), _mm256_set1_epi16(0x7F));
    const __m256i sign = _mm256_and_si256(_mm256_srli_epi16(word, 8), _mm256_set1_epi16(0x80));
    return _mm256_or_si256(code, sign);
  };
  return mend_pack4(vu8{_mm256_packus_epi16(words(0), words(2))});
#else
  const auto byte = [&](std::size_t k) HWY_ATTR {
    const auto bits = hn::BitCast(du32(), w[k]);
    const auto code = hn::And(hn::ShiftRight<20>(bits), hn::Set(du32(), 0x7F));
    const auto sign = hn::And(hn::ShiftRight<24>(bits), hn::Set(du32(), 0x80));
    return hn::BitCast(di32(), hn::Or(code, sign));
  };
  return pack_u8(byte(0), byte(1), byte(2), byte(3));
#endif
}

/// Codes of one step.
template <class Source>
HWY_INLINE vu8 fp8_codes(Source from, const std::byte* HWY_RESTRICT in, const fp8_divisor& by) {
  const df32 d;
  const di32 di;
  const auto inverse = hn::Set(d, by.inverse);
  vi32 w[4];
  auto nearest = hn::Set(di, 0xFFFF0); // to a half, from eight below it on
  VIVA_UNROLL(4)
  for (std::size_t k = 0; k < 4; ++k) {
    const auto product = hn::Mul(load(from, in + k * lanes() * from.bytes), inverse);
    w[k] = hn::Add(hn::BitCast(di, product), hn::Set(di, 0x80008));
    nearest = hn::Min(nearest, hn::And(w[k], hn::Set(di, 0xFFFF0)));
  }
  if (HWY_UNLIKELY(!hn::AllFalse(di, hn::Eq(nearest, hn::Zero(di)))))
    return fp8_divided_codes(from, in, by.scale);
  return fp8_bytes(w);
}

/// Encodes `count` finite values that share a scale, and fetches what lies `ahead` bytes behind
/// them. Stores past the cache take whole steps at aligned addresses.
template <class Stores, class Source>
HWY_INLINE void fp8_encode_values(Source from, const std::byte* HWY_RESTRICT in, std::size_t count,
                                  const fp8_divisor& by, std::byte* HWY_RESTRICT codes,
                                  std::size_t ahead) {
  auto* out = reinterpret_cast<std::uint8_t*>(codes);
  const std::size_t whole = count / fp8_step * fp8_step;
  if (HWY_LIKELY(by.regular))
    for (std::size_t i = 0; i < whole; i += fp8_step) {
      const std::byte* at = in + i * from.bytes;
      prefetch_row_for_later(at + ahead, fp8_step * from.bytes);
      Stores::put(fp8_codes(from, at, by), du8(), out + i);
    }
  else
    for (std::size_t i = 0; i < whole; i += fp8_step)
      Stores::put(fp8_divided_codes(from, in + i * from.bytes, by.scale), du8(), out + i);
  if (whole == count)
    return;
  HWY_ALIGN std::byte rest_in[fp8_step * 4] = {};
  HWY_ALIGN std::byte rest_out[fp8_step];
  copy_bytes(rest_in, in + whole * from.bytes, (count - whole) * from.bytes);
  hn::Store(fp8_divided_codes(from, rest_in, by.scale), du8(),
            reinterpret_cast<std::uint8_t*>(rest_out));
  copy_bytes(codes + whole, rest_out, count - whole);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
