// Codes of E2M1 by one comparison per value, where a target has a look-up for it.
//
// The code of x / scale is how many of seven borders lie below it. A bin, of a product by an
// approximate reciprocal, says which border is worth comparing with; each border is so far from its
// bin's edges (0.08 bins of 1, where the reciprocal is off by 2^-11) that the comparison alone
// decides, and it is exact:
//
//   - where x / scale is exact (mxfp4), the quotient is compared with the middles of two levels;
//   - where it is rounded (nvfp4), |x| is compared with scale times the edge of what rounds to the
//     middle, middle +- half a spacing of floats. That edge has 25 significant bits, so its product
//     with a scale is never a float, and rounded down it parts the floats as it would itself.
//
// So no value is divided, and none is in doubt.

#include "kernels/minifloat-inl.hpp"

#if defined(VIVA_KERNELS_E2M1_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_E2M1_INL
#undef VIVA_KERNELS_E2M1_INL
#else
#define VIVA_KERNELS_E2M1_INL
#endif

#define VIVA_E2M1_BORDERS (VIVA_X86_256 || VIVA_X86_512)
#define VIVA_X86_VBMI (HWY_TARGET == HWY_AVX3_DL)

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Largest |x / scale| for which the bins are right.
inline constexpr float e2m1_bins_max = 9.5f;

/// How steep bins are, where they are linear.
inline constexpr float e2m1_bins_per_unit = VIVA_X86_VBMI ? 1.6f : 1;

#if VIVA_E2M1_BORDERS

/// What a middle of two levels becomes, and whether -0 has a code.
enum class e2m1_ties { to_even, towards_zero };

/// One entry per bin and lane, so that a look-up needs no other table.
struct alignas(64) e2m1_table {
  float of_bin[hn::MaxLanes(df32())];

  HWY_INLINE vf32 load() const {
    return hn::Load(df32(), of_bin);
  }
};

/// The bin of border i, and the code below it. Where a byte can be looked up among 64, bins are
/// linear and some have no border; else they are bent so that bin i has border i.
constexpr int e2m1_bin(int border) {
  return VIVA_X86_VBMI && border > 4 ? 2 * border - 4 : border;
}

template <class Border>
constexpr e2m1_table e2m1_table_of(const Border& border, float elsewhere) {
  e2m1_table made{};
  for (float& each : made.of_bin)
    each = elsewhere;
  for (int i = 0; i < 7; ++i)
    made.of_bin[e2m1_bin(i)] = border(i);
  return made;
}

/// How far the edge of border `i` is from its middle: half a spacing of floats, up where the middle
/// and what rounds to it belong to the code below, which is even, else down.
constexpr float e2m1_edge(int i) {
  const float spacing = float_of(bits_of(e2m1_threshold(i)) + 1) - e2m1_threshold(i);
  return i % 2 == 0 ? spacing / 2 : -spacing / 2;
}

inline constexpr e2m1_table e2m1_middles =
    e2m1_table_of([](int i) { return e2m1_threshold(i); }, float_of(infinity_bits));
inline constexpr e2m1_table e2m1_edges = e2m1_table_of(e2m1_edge, 0);
/// The largest float that is not above border i, ties to even.
inline constexpr e2m1_table e2m1_below = e2m1_table_of(
    [](int i) { return float_of(bits_of(e2m1_threshold(i)) - static_cast<unsigned>(i % 2)); },
    float_of(infinity_bits));

/// The largest floats below (middle + edge) * scale, for a scale in [2^-90, 2^90].
HWY_INLINE vf32 e2m1_scaled_edges(vf32 scale) {
  const auto middle = e2m1_middles.load();
  const auto edge = hn::Mul(scale, e2m1_edges.load()); // exact
#if VIVA_X86_512
  return vf32{_mm512_fmadd_round_ps(scale.raw, middle.raw, edge.raw,
                                    _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
#else
  const auto nearest = hn::MulAdd(scale, middle, edge);
  const auto above_middle = hn::NegMulAdd(scale, middle, nearest); // exact
  const auto too_large = hn::VecFromMask(df32(), hn::Gt(above_middle, edge));
  const auto one_less = hn::BitCast(di32(), too_large); // -1, where true
  return hn::BitCast(df32(), hn::Add(hn::BitCast(di32(), nearest), one_less));
#endif
}

/// Bin and side of its border of lanes with magnitudes `a`: `inverse` is about e2m1_bins_per_unit
/// of what is 1 in `a`. What the lanes hold is for e2m1_bytes.
HWY_INLINE vi32 e2m1_sides(vf32 a, vf32 inverse, vf32 borders) {
  const df32 d;
  const di32 di;
#if VIVA_X86_VBMI
  const auto bin = hn::MulAdd(a, inverse, hn::Set(d, 0x1p23f)); // in the low bits
  const vf32 border{_mm512_permutexvar_ps(hn::BitCast(di, bin).raw, borders.raw)};
  const auto above = hn::RebindMask(di, hn::Gt(a, border));
  const auto index = hn::BitCast(di, bin);
  return hn::IfThenElse(above, hn::Add(index, hn::Set(di, 16)), index);
#else
  const auto ratio = hn::Mul(a, inverse);
  const auto slope = hn::NegMulAdd(ratio, hn::Set(d, 0.097f), hn::Set(d, 1.7f));
  const auto bin = nearest_i32(hn::Mul(ratio, slope));
#if VIVA_X86_512
  const vf32 border{_mm512_permutexvar_ps(bin.raw, borders.raw)};
  const auto above = hn::RebindMask(di, hn::Gt(a, border));
  return hn::IfThenElse(above, hn::Add(bin, hn::Set(di, 1)), bin);
#else
  const vf32 border{_mm256_permutevar8x32_ps(borders.raw, bin.raw)};
  return hn::Sub(bin, hn::BitCast(di, hn::VecFromMask(d, hn::Gt(a, border))));
#endif
#endif
}

#if VIVA_X86_VBMI

/// The code of sign | bin << 1 | side << 5.
template <e2m1_ties Ties>
struct e2m1_codes_of_sides {
  alignas(64) std::uint8_t code[64];

  constexpr e2m1_codes_of_sides() : code() {
    for (int i = 0; i < 64; ++i) {
      const int bin = i >> 1 & 15;
      int magnitude_code = i >> 5;
      for (int border = 0; border < 7; ++border)
        magnitude_code += bin > e2m1_bin(border) ? 1 : 0;
      const bool zero = Ties == e2m1_ties::towards_zero && magnitude_code == 0;
      const int sign = zero ? 0 : (i & 1) << 3;
      code[i] = static_cast<std::uint8_t>((magnitude_code < 7 ? magnitude_code : 7) | sign);
    }
  }
};

/// The codes of four vectors of values and of what e2m1_sides gave for them, one per byte.
template <e2m1_ties Ties>
HWY_INLINE vu8 e2m1_bytes(const vf32 (&x)[4], const vi32 (&sides)[4]) {
  static constexpr e2m1_codes_of_sides<Ties> codes;
  alignas(64) static constexpr std::uint8_t low_bytes[64] = {
      0,  4,  8,  12, 16, 20, 24, 28, 32, 36,  40,  44,  48,  52,  56,  60,
      64, 68, 72, 76, 80, 84, 88, 92, 96, 100, 104, 108, 112, 116, 120, 124,
      0,  4,  8,  12, 16, 20, 24, 28, 32, 36,  40,  44,  48,  52,  56,  60,
      64, 68, 72, 76, 80, 84, 88, 92, 96, 100, 104, 108, 112, 116, 120, 124};
  const auto signed_side = [&](std::size_t k) {
    return _mm512_shldi_epi32(sides[k].raw, hn::BitCast(di32(), x[k]).raw, 1);
  };
  const __m512i order = _mm512_load_si512(low_bytes);
  const __m512i lower = _mm512_permutex2var_epi8(signed_side(0), order, signed_side(1));
  const __m512i upper = _mm512_permutex2var_epi8(signed_side(2), order, signed_side(3));
  const __m512i index = _mm512_mask_blend_epi64(0xF0, lower, upper);
  return vu8{_mm512_permutexvar_epi8(index, _mm512_load_si512(codes.code))};
}

#else

template <e2m1_ties Ties>
HWY_INLINE vu8 e2m1_bytes(const vf32 (&x)[4], const vi32 (&sides)[4]) {
  const du8 d;
  const auto sign_of = [&](std::size_t k) { return hn::BitCast(di32(), x[k]); };
  // Saturation keeps the sign, and the same order as that of the codes.
  const auto negative = hn::BitCast(du8(), pack_i8(sign_of(0), sign_of(1), sign_of(2), sign_of(3)));
  const auto code = pack_u8(sides[0], sides[1], sides[2], sides[3]);
  const auto sign = hn::And(hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(du16(), negative))),
                            hn::Set(d, std::uint8_t{8}));
  const auto both = hn::Or(code, sign);
  if constexpr (Ties == e2m1_ties::to_even) {
    return both;
  } else {
    alignas(16) static constexpr std::uint8_t no_negative_zero[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                                                      0, 9, 10, 11, 12, 13, 14, 15};
    return hn::TableLookupBytes(hn::LoadDup128(d, no_negative_zero), both);
  }
}

#endif
#endif // VIVA_E2M1_BORDERS

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
