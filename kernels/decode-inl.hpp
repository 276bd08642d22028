// What decoders share: whole vectors in order, E4M3 codes to f32, nibbles to lanes, tables of 16
// levels that stay in registers, and the scales of a batch of units.
//
// A unit is a run of values with one scale. Scales come in batches, by vectors, so that a unit
// costs one broadcast load; a table of levels is scaled once per unit, and level * scale is the
// same product before and after the look-up.

#include "kernels/minifloat-inl.hpp"
#include "kernels/stream-inl.hpp"

#include <cstring>

#if defined(VIVA_KERNELS_DECODE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_DECODE_INL
#undef VIVA_KERNELS_DECODE_INL
#else
#define VIVA_KERNELS_DECODE_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

// A lambda that is called for every unit: GCC would make one with loops a function of its own.
#define VIVA_INLINE_LAMBDA __attribute__((always_inline))

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

/// Calls unit(u, scale) for each of `units` units; load(first, count, to) loads a batch's scales.
template <class Load, class Unit>
HWY_INLINE void each_unit(std::size_t units, const Load& load, const Unit& unit) {
  for (std::size_t first = 0; first < units; first += scale_batch) {
    const std::size_t count = std::min(scale_batch, units - first);
    HWY_ALIGN float scale[scale_batch];
    load(first, count, scale);
    for (std::size_t u = 0; u < count; ++u)
      unit(first + u, scale[u]);
  }
}

/// The same, from a plane of scales of `type`. False, where one is not finite.
template <class Unit>
HWY_INLINE bool each_scale(dtype type, const std::byte* scales, std::size_t units,
                           const Unit& unit) {
  return with_source(type, [&](auto from) {
    auto largest = hn::Zero(di32());
    const auto load = [&](std::size_t first, std::size_t count, float* to) {
      load_scales(from, scales + first * from.bytes, count, largest, to);
    };
    each_unit(units, load, unit);
    return all_finite(largest);
  });
}

/// The bytes of a batch's scales as lanes: put(i, codes), past `count` zeros.
template <class Put>
HWY_INLINE void each_scale_byte(const std::byte* HWY_RESTRICT at, std::size_t count,
                                const Put& put) {
  const hn::Rebind<std::uint8_t, df32> quarter;
  HWY_ALIGN std::byte bytes[scale_batch] = {};
  std::memcpy(bytes, at, count);
  for (std::size_t i = 0; i < count; i += lanes())
    put(i, hn::PromoteTo(di32(), hn::Load(quarter, reinterpret_cast<std::uint8_t*>(bytes) + i)));
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

// -- nibbles ------------------------------------------------------------------------------------

/// Which of two codes in a byte comes first.
enum class nibble_order { high_first, low_first };

/// `lanes()` nibbles from the bytes at `at` on; upper bits may hold anything. Every lane gets the
/// same four or eight bytes, of which a shift brings its nibble to the low bits.
template <nibble_order Order>
HWY_INLINE vi32 paired_nibbles(const std::byte* HWY_RESTRICT at) {
  constexpr std::int32_t first = Order == nibble_order::high_first ? 4 : 0, second = 4 - first;
#if HWY_TARGET == HWY_AVX3_DL
  // Of each byte of a lane's shift count one matters: 8 bits from there on become the lane's low 8.
  alignas(64) static constexpr std::int32_t shifts[16] = {
      first,      second,      first + 8,  second + 8,  first + 16, second + 16,
      first + 24, second + 24, first + 32, second + 32, first + 40, second + 40,
      first + 48, second + 48, first + 56, second + 56};
  const __m512i bytes = _mm512_set1_epi64(load_as<std::int64_t>(at));
  return vi32{_mm512_multishift_epi64_epi8(hn::Load(di32(), shifts).raw, bytes)};
#elif VIVA_X86_256 || VIVA_X86_512
  alignas(64) static constexpr std::int32_t shifts[16] = {
      first, second, first + 8, second + 8, first + 16, second + 16, first + 24, second + 24,
      first, second, first + 8, second + 8, first + 16, second + 16, first + 24, second + 24};
#if VIVA_X86_256
  const auto bytes = hn::Set(di32(), load_as<std::int32_t>(at));
  return vi32{_mm256_srlv_epi32(bytes.raw, hn::Load(di32(), shifts).raw)};
#else
  const __m512i pair = _mm512_set1_epi64(load_as<std::int64_t>(at));
  const __m512i which = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const auto bytes = _mm512_permutexvar_epi32(which, pair);
  return vi32{_mm512_srlv_epi32(bytes, hn::Load(di32(), shifts).raw)};
#endif
#else
  HWY_ALIGN std::int32_t nibbles[hn::MaxLanes(df32())];
  for (std::size_t i = 0; i < lanes(); ++i)
    nibbles[i] = static_cast<std::int32_t>(at[i / 2]) >> (i % 2 == 0 ? first : second);
  return hn::Load(di32(), nibbles);
#endif
}

/// 16 levels, in registers where a target looks up there.
class level_table {
public:
  explicit HWY_INLINE level_table(const float* levels) {
    each([&](std::size_t i) { return hn::LoadU(df32(), levels + i); });
  }
  /// The integers 0 to 15.
  HWY_INLINE level_table() {
    each([](std::size_t i) { return hn::Iota(df32(), static_cast<float>(i)); });
  }

  HWY_INLINE level_table times(float scale) const {
    level_table scaled = *this;
    scaled.each([&](std::size_t i) { return hn::Mul(part(i), hn::Set(df32(), scale)); });
    return scaled;
  }
  HWY_INLINE level_table plus(float offset) const {
    level_table moved = *this;
    moved.each([&](std::size_t i) { return hn::Add(part(i), hn::Set(df32(), offset)); });
    return moved;
  }

  /// The level of each lane's low four bits.
  HWY_INLINE vf32 at(vi32 index) const {
#if VIVA_X86_256
    const __m256 low = _mm256_permutevar8x32_ps(x_parts[0].raw, index.raw);
    const __m256 high = _mm256_permutevar8x32_ps(x_parts[1].raw, index.raw);
    const __m256 upper = _mm256_castsi256_ps(_mm256_slli_epi32(index.raw, 28)); // bit 3 as sign
    return vf32{_mm256_blendv_ps(low, high, upper)};
#elif VIVA_X86_512
    return vf32{_mm512_permutexvar_ps(index.raw, x_parts[0].raw)};
#else
    return hn::GatherIndex(df32(), x_parts, hn::And(index, hn::Set(di32(), 15)));
#endif
  }

private:
  template <class Make>
  HWY_INLINE void each(const Make& make) {
    VIVA_UNROLL(4)
    for (std::size_t i = 0; i < 16; i += lanes())
#if VIVA_X86_256 || VIVA_X86_512
      x_parts[i / lanes()] = make(i);
#else
      hn::Store(make(i), df32(), x_parts + i);
#endif
  }
  HWY_INLINE vf32 part(std::size_t i) const {
#if VIVA_X86_256 || VIVA_X86_512
    return x_parts[i / lanes()];
#else
    return hn::Load(df32(), x_parts + i);
#endif
  }

#if VIVA_X86_256 || VIVA_X86_512
  vf32 x_parts[16 / hn::MaxLanes(df32())];
#else
  HWY_ALIGN float x_parts[16];
#endif
};

/// The levels of `count` codes, two to a byte, in whole vectors. Returns where they end.
template <nibble_order Order, class Stores>
HWY_INLINE std::size_t decode_pairs(const level_table& levels, const std::byte* HWY_RESTRICT codes,
                                    std::size_t count, float* HWY_RESTRICT out) {
  return each_vector(count, [&](std::size_t i) {
    Stores::put(levels.at(paired_nibbles<Order>(codes + i / 2)), df32(), out + i);
  });
}

/// The levels of `Values` codes, of which byte j holds number j below and number j + Values / 2
/// above.
template <std::size_t Values, class Stores>
HWY_INLINE void decode_halves(const level_table& levels, const std::byte* HWY_RESTRICT codes,
                              float* HWY_RESTRICT out) {
  constexpr std::size_t half = Values / 2;
  const auto put = [&](vi32 index, std::size_t i) {
    Stores::put(levels.at(index), df32(), out + i);
  };
  const hn::Rebind<std::uint8_t, df32> quarter;
  if constexpr (hn::MaxLanes(df32()) <= half) {
    vi32 bytes[half / hn::MaxLanes(df32())];
    VIVA_UNROLL(4)
    for (std::size_t j = 0; j < half; j += lanes()) {
      const auto narrow = hn::LoadU(quarter, reinterpret_cast<const std::uint8_t*>(codes) + j);
      bytes[j / lanes()] = hn::PromoteTo(di32(), narrow);
    }
    VIVA_UNROLL(4)
    for (std::size_t j = 0; j < half; j += lanes())
      put(bytes[j / lanes()], j);
    VIVA_UNROLL(4)
    for (std::size_t j = 0; j < half; j += lanes())
      put(hn::ShiftRight<4>(bytes[j / lanes()]), half + j);
  } else { // both halves in one vector
    static_assert(Values == 16 && hn::MaxLanes(df32()) == Values);
#if VIVA_X86_512
    const __m128i low = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes));
    const __m128i both = _mm_unpacklo_epi64(low, _mm_srli_epi16(low, 4));
    put(vi32{_mm512_cvtepu8_epi32(both)}, 0);
#endif
  }
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
