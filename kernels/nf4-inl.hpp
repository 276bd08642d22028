// Codes of 16 levels in vectors: shared by nf4, nf4-dq and nf4-signed.

#include "kernels/blockwise.hpp"
#include "kernels/decode-inl.hpp"
#include "kernels/fold-inl.hpp"
#include "kernels/nf4.hpp"
#include "kernels/nf4_signed.hpp"
#include "kernels/pack-inl.hpp"
#include "kernels/stream-inl.hpp"

#include <bit>
#include <cstring>

#if defined(VIVA_KERNELS_NF4_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_NF4_INL
#undef VIVA_KERNELS_NF4_INL
#else
#define VIVA_KERNELS_NF4_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Values of one step: eight vectors become one vector of bytes, two codes each.
inline constexpr std::size_t nf4_step = 8 * hn::MaxLanes(df32());

/// What distinguishes one book of 16 ascending levels, level 7 zero, from another: its thresholds,
/// and where u (slope - bend |u|) + middle, rounded, is a bin in [1, 15] that grows with u, bin k
/// holds threshold k - 1 and no other, and u = 0 is in bin 8. `even_bins` to a unit of u never have
/// two thresholds in one.
struct nf4_book {
  static constexpr const float* levels = nf4::levels.data();
  static constexpr float slope = 11.95f, bend = 4.55f, middle = 8; // 0.03 bins to spare
  static constexpr float even_bins = 14.598f;                      // 0.07 bins to spare
  static constexpr bool keeps_sign = false; ///< Whether scales have the sign of the extreme value.
  static constexpr float threshold(int i) {
    return nf4::threshold(i);
  }
};

struct nf4_signed_book {
  static constexpr const float* levels = nf4_signed::levels.data();
  static constexpr float slope = 12.14f, bend = 4.98f, middle = 7.76f; // 0.1 bins to spare
  static constexpr float even_bins = 13.376f;                          // 0.09 bins to spare
  static constexpr bool keeps_sign = true;
  static constexpr float threshold(int i) {
    return nf4_signed::threshold(i);
  }
};

/// The codes of u, each in [-1, 1]: how many thresholds are below u, found with one comparison. The
/// bin only chooses which threshold to compare with, and every threshold is so far from its bin's
/// edges that no rounding in the bin's arithmetic can reach the code.
template <class Book>
HWY_INLINE vi32 nf4_codes(vf32 u) {
  const df32 d;
  const di32 di;
#if VIVA_X86_256 || VIVA_X86_512
  // Thresholds by bin; slot 0 is bin 8 again, for the lanes whose table is chosen by sign.
  alignas(64) static constexpr float by_bin[16] = {
      Book::threshold(7),  Book::threshold(0),  Book::threshold(1),  Book::threshold(2),
      Book::threshold(3),  Book::threshold(4),  Book::threshold(5),  Book::threshold(6),
      Book::threshold(7),  Book::threshold(8),  Book::threshold(9),  Book::threshold(10),
      Book::threshold(11), Book::threshold(12), Book::threshold(13), Book::threshold(14)};
  const auto slope = hn::NegMulAdd(hn::Abs(u), hn::Set(d, Book::bend), hn::Set(d, Book::slope));
  constexpr float magic = 0x1p23f; // leaves the bin in the low bits
  const auto shifted = [&] {
    if constexpr (Book::middle == 8)
      return hn::MulAdd(u, slope, hn::Set(d, magic + 8));
    else
      return hn::Add(hn::MulAdd(u, slope, hn::Set(d, Book::middle)), hn::Set(d, magic));
  }();
  const auto bin = hn::BitCast(di, shifted);
#if VIVA_X86_256
  const __m256 low = _mm256_permutevar8x32_ps(_mm256_load_ps(by_bin), bin.raw);
  const __m256 high = _mm256_permutevar8x32_ps(_mm256_load_ps(by_bin + 8), bin.raw);
  const vf32 border{_mm256_blendv_ps(high, low, u.raw)};
#else
  const auto border = lookup16(by_bin, bin);
#endif
  const auto not_above = hn::Le(u, border);
  // A true lane is -1.
  return hn::Add(hn::Sub(bin, hn::Set(di, 0x4B000000)),
                 hn::BitCast(di, hn::VecFromMask(d, not_above)));
#else
  auto code = hn::Zero(di);
  for (int i = 0; i < 15; ++i) {
    const auto above = hn::Gt(u, hn::Set(d, Book::threshold(i)));
    code = hn::Sub(code, hn::BitCast(di, hn::VecFromMask(d, above)));
  }
  return code;
#endif
}

#if HWY_TARGET == HWY_AVX3_DL
/// For 32 even bins around u = 0: the threshold in each, infinite where there is none, and the
/// codes of values not above it and, 32 entries on, above it.
template <class Book>
struct nf4_bins {
  alignas(64) float border[32];
  alignas(64) std::uint8_t code[64];

  constexpr nf4_bins() : border(), code() {
    for (auto& one : border)
      one = float_of(infinity_bits);
    for (int i = 0; i < 15; ++i)
      border[bin_of(i)] = Book::threshold(i);
    std::uint8_t below = 0;
    for (std::size_t bin = 0; bin < 32; ++bin) {
      code[bin] = below;
      below += border[bin] < 1 ? 1 : 0;
      code[bin + 32] = below;
    }
  }
  static constexpr std::size_t bin_of(int i) {
    return static_cast<std::size_t>(Book::threshold(i) * Book::even_bins + 16.5f);
  }
  /// Whether each threshold has a bin of its own, 0.05 bins from its edges.
  static constexpr bool apart() {
    for (int i = 0; i < 15; ++i) {
      const float place = Book::threshold(i) * Book::even_bins + 16.5f;
      const float within = place - static_cast<float>(bin_of(i));
      if (within < 0.05f || within > 0.95f || (i > 0 && bin_of(i) == bin_of(i - 1)))
        return false;
    }
    return true;
  }
};
#endif

/// nf4_codes of four vectors, as bytes.
template <class Book>
HWY_INLINE vu8 nf4_code_bytes(const vf32 (&u)[4]) {
  vi32 code[4];
#if HWY_TARGET == HWY_AVX3_DL
  // A threshold of two registers' worth, one comparison, and one table of bytes for all four.
  static constexpr nf4_bins<Book> bins;
  static_assert(nf4_bins<Book>::apart());
  const __m512 lower = _mm512_load_ps(bins.border);
  const __m512 upper = _mm512_load_ps(bins.border + 16);
  VIVA_UNROLL(4)
  for (std::size_t k = 0; k < 4; ++k) {
    const auto shifted =
        hn::MulAdd(u[k], hn::Set(df32(), Book::even_bins), hn::Set(df32(), 0x1p23f + 16));
    const __m512i bin = _mm512_castps_si512(shifted.raw); // in the low five bits
    const __m512 border = _mm512_permutex2var_ps(lower, bin, upper);
    const __mmask16 above = _mm512_cmp_ps_mask(u[k].raw, border, _CMP_GT_OQ);
    code[k] = vi32{_mm512_mask_add_epi32(bin, above, bin, _mm512_set1_epi32(32))};
  }
  const auto index = pack_low_bytes(code[0], code[1], code[2], code[3]);
  return vu8{_mm512_permutexvar_epi8(index.raw, _mm512_load_si512(bins.code))};
#else
  VIVA_UNROLL(4)
  for (std::size_t k = 0; k < 4; ++k)
    code[k] = nf4_codes<Book>(u[k]);
  return pack_u8(code[0], code[1], code[2], code[3]);
#endif
}

/// Values encoded between two looks at the scales: whole steps, and whole blocks up to 4096 values.
inline constexpr std::size_t nf4_batch_max = 4096;
HWY_INLINE std::size_t nf4_batch(std::size_t block) {
  return std::max<std::size_t>(block, 1024);
}

/// The scales of at most 32 blocks: magnitudes, or extremes with their sign. False, where a value
/// is not finite.
template <class Book, class Source>
HWY_INLINE bool nf4_scales(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                           std::size_t blocks, float* HWY_RESTRICT scale) {
  if constexpr (Book::keeps_sign) {
    return fold_extremes<32>(from, in, block, blocks, scale);
  } else {
    const di32 di;
    HWY_ALIGN std::int32_t bits[32] = {};
    fold_blocks<magnitude_fold>(from, in, block, blocks, bits);
    auto largest = hn::Zero(di);
    for (std::size_t b = 0; b < blocks; b += lanes()) {
      const auto v = hn::Load(di, bits + b);
      largest = hn::Max(largest, v);
      hn::Store(hn::BitCast(df32(), v), df32(), scale + b);
    }
    return hn::AllTrue(di, hn::Lt(largest, hn::Set(di, infinity_bits)));
  }
}

/// Encodes one batch of blocks of 2^block_shift values and stores their `scales`. False, where a
/// value is not finite.
template <class Book, class Stores, class Source>
HWY_INLINE bool nf4_encode_batch(Source from, const std::byte* HWY_RESTRICT in, int block_shift,
                                 std::byte* HWY_RESTRICT codes, float* HWY_RESTRICT scales) {
  const std::size_t values = nf4_batch(std::size_t{1} << block_shift);
  const std::size_t blocks = values >> block_shift; // at most 32
  const df32 d;
  HWY_ALIGN float inverse[32];
  if (!nf4_scales<Book>(from, in, std::size_t{1} << block_shift, blocks, scales))
    return false;
  for (std::size_t b = 0; b < blocks; b += lanes()) {
    const auto v = hn::Load(d, scales + b);
    const auto divisor = hn::CopySign(hn::Max(hn::Abs(v), hn::Set(d, 1e-38f)), v);
    hn::Store(hn::Div(hn::Set(d, 1.0f), divisor), d, inverse + b);
  }
  auto* out = reinterpret_cast<std::uint8_t*>(codes);
  for (std::size_t i = 0; i < values; i += nf4_step) {
    prefetch_ahead(in + i * from.bytes, nf4_step * from.bytes);
    vf32 u[2][4];
    VIVA_UNROLL(8)
    for (std::size_t k = 0; k < 8; ++k) {
      const std::size_t at = i + k * lanes();
      const auto scale = hn::Set(d, inverse[at >> block_shift]);
      u[k / 4][k % 4] = hn::Mul(load(from, in + at * from.bytes), scale);
    }
    const auto lower = nf4_code_bytes<Book>(u[0]);
    const auto upper = nf4_code_bytes<Book>(u[1]);
    Stores::put(pack_u16(pair_nibbles_high_first(lower), pair_nibbles_high_first(upper)), du8(),
                out + i / 2);
  }
  return true;
}

/// Encodes `count` values in flat order; the last block may be short. `codes` may be unaligned.
/// put(block, scales, blocks) takes the scales, a batch at a time and in order; it may read up to a
/// whole vector of them. False, where a value is not finite.
template <class Book, class Source, class Put>
HWY_INLINE bool nf4_encode_values(Source from, const std::byte* in, std::size_t count,
                                  std::size_t block, std::byte* codes, const Put& put) {
  const int block_shift = std::countr_zero(block);
  const std::size_t batch = nf4_batch(block);
  const std::size_t whole = count / batch * batch;
  HWY_ALIGN float scales[32] = {};
  const bool finite = with_stores(codes, whole / 2, [&](auto stores) {
    for (std::size_t i = 0; i < whole; i += batch) {
      if (!nf4_encode_batch<Book, decltype(stores)>(from, in + i * from.bytes, block_shift,
                                                    codes + i / 2, scales))
        return false;
      put(i / block, scales, batch / block);
    }
    return true;
  });
  if (!finite)
    return false;
  const std::size_t rest = count - whole;
  if (rest == 0)
    return true;
  // The same code on a copy padded with zeros, whose codes are code_of_zero.
  HWY_ALIGN std::byte rest_in[nf4_batch_max * 4];
  HWY_ALIGN std::byte rest_codes[nf4_batch_max / 2];
  std::memcpy(rest_in, in + whole * from.bytes, rest * from.bytes);
  std::memset(rest_in + rest * from.bytes, 0, (batch - rest) * from.bytes);
  if (!nf4_encode_batch<Book, cached_stores>(from, rest_in, block_shift, rest_codes, scales))
    return false;
  std::memcpy(codes + whole / 2, rest_codes, (rest + 1) / 2);
  put(whole / block, scales, (rest + block - 1) / block);
  return true;
}

/// The same with scales as f32, unaligned at `to`.
template <class Book>
bool nf4_encode_with_f32(const matrix& in, std::size_t block, std::byte* codes, std::byte* to) {
  return with_source(in.type, [&](auto from) {
    return nf4_encode_values<Book>(from, in.data, in.values(), block, codes,
                                   [&](std::size_t b, const float* scales, std::size_t blocks) {
                                     std::memcpy(to + 4 * b, scales, 4 * blocks);
                                   });
  });
}

/// Decodes `values` values in flat order; the last block may be short. `load` loads a batch's
/// scales (each_unit). With stores past the cache, `out` and all blocks but the last are whole
/// lines.
template <class Book, class Stores, class Load>
HWY_INLINE void nf4_decode_blocks(const std::byte* HWY_RESTRICT codes, std::size_t values,
                                  std::size_t block, const Load& load, float* HWY_RESTRICT out) {
  const level_table levels(Book::levels);
  const std::size_t units = (values + block - 1) / block;
  each_unit(units, load, [&](std::size_t b, float scale) VIVA_INLINE_LAMBDA {
    const std::size_t first = b * block, count = std::min(block, values - first);
    const auto* in = codes + first / 2;
    float* to = out + first;
    const auto order = nibble_order::high_first;
    for (std::size_t i = decode_pairs<order, Stores>(levels.times(scale), in, count, to); i < count;
         ++i) {
      const auto byte = static_cast<unsigned>(in[i / 2]);
      to[i] = Book::levels[i % 2 == 0 ? byte >> 4 : byte & 15] * scale;
    }
  });
}

/// The same, by a plane of scales of type `from`. False, where one is not finite.
template <class Book, class Source>
bool nf4_decode_values(Source from, const std::byte* codes, const std::byte* scales,
                       std::size_t values, std::size_t block, float* out) {
  return with_stores(out, values * sizeof(float), [&](auto stores) {
    auto largest = hn::Zero(di32());
    const auto load = [&](std::size_t first, std::size_t count, float* to) {
      load_scales(from, scales + first * from.bytes, count, largest, to);
    };
    nf4_decode_blocks<Book, decltype(stores)>(codes, values, block, load, out);
    return all_finite(largest);
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
