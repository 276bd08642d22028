// The frame of the FP4 formats: blocks of E2M1 codes that share one 8-bit scale, 64 blocks at a
// time, in cache.
//
//   A  fold every block (fold-inl.hpp)          largest magnitudes
//   S  scale codes and what values are scaled by, 4 to 16 blocks at a time
//   B  quantize and pack, four vectors at a time; fetch what comes 8 KiB later
//
// A Format has block_values and
//   scale(amax, code, factor)      the scale's byte and the factor of a vector of blocks
//   refine(from, in, blocks, all)  mends both with another look at the values; may do nothing
//   code(x, factor)                the E2M1 codes of values that share a factor, or lanes of it
// and, for targets that look borders up (e2m1-inl.hpp), which give the same codes:
//   ties, multiplies               the rule of ties; whether x * factor is exact and what is coded,
//                                  or x / factor
//   borders(factor)                of |x * factor|, or of |x|
//   regular(amax, factor, inverse) false where a block must be coded by code() instead

#include "kernels/decode-inl.hpp"
#include "kernels/e2m1-inl.hpp"
#include "kernels/fold-inl.hpp"
#include "kernels/stream-inl.hpp"

#include <cstring>
#include <type_traits>

#if defined(VIVA_KERNELS_FP4_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_FP4_INL
#undef VIVA_KERNELS_FP4_INL
#else
#define VIVA_KERNELS_FP4_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Blocks, at most. With 128 on AVX-512 nvfp4 encodes as fast in the cache and at half the rate out
/// of it (Zen 5: 4.5 instead of 8.1 Gvalues/s), with 64 on AVX2 at nine tenths of it.
inline constexpr std::size_t fp4_batch = hn::MaxLanes(df32()) >= 16 ? 64 : 128;
inline constexpr std::size_t fp4_group = 8; ///< Blocks of one step, on the widest target.

/// Blocks that are 8 KiB of f32 at most.
template <class Format>
constexpr std::size_t fp4_batch_of() {
  return std::min<std::size_t>(fp4_batch, 2048 / Format::block_values);
}

/// How far ahead of a batch's codes later ones are fetched: a batch of f32 and 6 KiB, so that both
/// do not share sets of the first-level cache.
template <class Format>
constexpr std::size_t fp4_ahead() {
  return fp4_batch_of<Format>() * Format::block_values * sizeof(float) + (std::size_t{6} << 10);
}

struct fp4_scales {
  HWY_ALIGN std::int32_t amax[fp4_batch]; ///< Bits of the largest magnitudes.
  HWY_ALIGN std::int32_t code[fp4_batch] = {};
  HWY_ALIGN float factor[fp4_batch];
  HWY_ALIGN float inverse[fp4_batch]; ///< e2m1_bins_per_unit / factor, about.
  bool regular = VIVA_E2M1_BORDERS;   ///< Whether borders may be looked up.
};

/// Passes A and S. False, where a value is not finite.
template <class Format, class Source>
HWY_INLINE bool fp4_scale_blocks(const Format& format, Source from,
                                 const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                 fp4_scales& all) {
  const df32 d;
  const di32 di;
  fold_blocks<magnitude_fold>(from, in, Format::block_values, blocks, all.amax);
  for (std::size_t b = blocks; b % lanes() != 0; ++b)
    all.amax[b] = 0;
  auto largest = hn::Zero(di);
  for (std::size_t b = 0; b < blocks; b += lanes()) {
    const auto amax = hn::Load(di, all.amax + b);
    largest = hn::Max(largest, amax);
    vi32 code;
    vf32 factor;
    format.scale(hn::BitCast(d, amax), code, factor);
    hn::Store(code, di, all.code + b);
    hn::Store(factor, d, all.factor + b);
  }
  if (!hn::AllTrue(di, hn::Lt(largest, hn::Set(di, infinity_bits))))
    return false;
  format.refine(from, in, blocks, all);
#if VIVA_E2M1_BORDERS
  if constexpr (!Format::multiplies) {
    auto regular = hn::Eq(hn::Zero(d), hn::Zero(d));
    for (std::size_t b = 0; b < blocks; b += lanes()) {
      const auto factor = hn::Load(d, all.factor + b);
      const auto inverse = hn::ApproximateReciprocal(factor);
      const auto amax = hn::BitCast(d, hn::Load(di, all.amax + b));
      regular = hn::And(regular, format.regular(amax, factor, inverse));
      hn::Store(hn::Mul(inverse, hn::Set(d, e2m1_bins_per_unit)), d, all.inverse + b);
    }
    all.regular = hn::AllTrue(d, regular);
  }
#endif
  return true;
}

/// The codes of values [at, at + 4 lanes), one per byte, as Format::code has them.
template <class Format, class Source>
HWY_INLINE vu8 fp4_plain_bytes(const Format& format, Source from, const std::byte* HWY_RESTRICT in,
                               const fp4_scales& all, std::size_t at) {
  vi32 code[4];
  VIVA_UNROLL(4)
  for (std::size_t k = 0; k < 4; ++k) {
    const std::size_t i = at + k * lanes();
    const auto factor = hn::Set(df32(), all.factor[i / Format::block_values]);
    code[k] = format.code(load(from, in + i * from.bytes), factor);
  }
  return pack_u8(code[0], code[1], code[2], code[3]);
}

#if VIVA_E2M1_BORDERS
/// The same by borders, where `all` is regular.
template <class Format, class Source>
HWY_INLINE vu8 fp4_border_bytes(const Format& format, Source from, const std::byte* HWY_RESTRICT in,
                                const fp4_scales& all, std::size_t at) {
  constexpr std::size_t together = Format::block_values / hn::MaxLanes(df32()); // 1, 2 or 4 vectors
  const df32 d;
  vf32 x[4];
  vi32 sides[4];
  VIVA_UNROLL(4)
  for (std::size_t k = 0; k < 4; k += together) {
    const std::size_t block = at / Format::block_values + k / together;
    const auto factor = hn::Set(d, all.factor[block]);
    const auto borders = format.borders(factor);
    VIVA_UNROLL(4)
    for (std::size_t j = k; j < k + together; ++j) {
      x[j] = load(from, in + (at + j * lanes()) * from.bytes);
      if constexpr (Format::multiplies)
        sides[j] =
            e2m1_sides(hn::Abs(hn::Mul(x[j], factor)), hn::Set(d, e2m1_bins_per_unit), borders);
      else
        sides[j] = e2m1_sides(hn::Abs(x[j]), hn::Set(d, all.inverse[block]), borders);
    }
  }
  return e2m1_bytes<Format::ties>(x, sides);
}
#endif

/// Calls body(bytes_at) with the way of coding that `all` allows: bytes_at(at) are the codes of
/// values [at, at + 4 lanes).
template <class Format, class Source, class Body>
HWY_INLINE void fp4_with_codes(const Format& format, Source from, const std::byte* HWY_RESTRICT in,
                               const fp4_scales& all, const Body& body) {
#if VIVA_E2M1_BORDERS
  if (HWY_LIKELY(all.regular)) {
    body([&](std::size_t at) HWY_ATTR {
      prefetch_ahead(in + at * from.bytes, 4 * lanes() * from.bytes, fp4_ahead<Format>());
      return fp4_border_bytes(format, from, in, all, at);
    });
    return;
  }
#endif
  body([&](std::size_t at) HWY_ATTR { return fp4_plain_bytes(format, from, in, all, at); });
}

/// Encodes a multiple of fp4_group blocks: codes two per byte, the first of a pair in the low
/// nibble, and one byte for each scale. False, where a value is not finite.
template <class Format, class Stores, class Source>
bool fp4_encode_pairs(const Format& format, Source from, const std::byte* HWY_RESTRICT in,
                      std::size_t blocks, std::byte* HWY_RESTRICT codes,
                      std::byte* HWY_RESTRICT scales) {
  fp4_scales all;
  if (!fp4_scale_blocks(format, from, in, blocks, all))
    return false;
  HWY_ALIGN std::uint8_t scale_bytes[fp4_batch];
  for (std::size_t b = 0; b < blocks; b += 4 * lanes()) {
    const auto code = [&](std::size_t k)
                          HWY_ATTR { return hn::Load(di32(), all.code + b + k * lanes()); };
    hn::Store(pack_u8(code(0), code(1), code(2), code(3)), du8(), scale_bytes + b);
  }
  std::memcpy(scales, scale_bytes, blocks);
  auto* out = reinterpret_cast<std::uint8_t*>(codes);
  fp4_with_codes(format, from, in, all, [&](const auto& bytes_at) HWY_ATTR {
    for (std::size_t i = 0; i < blocks * Format::block_values; i += 8 * lanes()) {
      const auto lower = bytes_at(i);
      const auto upper = bytes_at(i + 4 * lanes());
      Stores::put(pack_u16(pair_nibbles_low_first(lower), pair_nibbles_low_first(upper)), du8(),
                  out + i / 2);
    }
  });
  return true;
}

/// Joins `half` codes with the `half` that follow them: the first in the low nibbles.
template <std::size_t Half>
HWY_INLINE void fp4_join_halves(const std::uint8_t* HWY_RESTRICT codes,
                                std::byte* HWY_RESTRICT out) {
  for (std::size_t j = 0; j < Half; j += 8) {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    std::memcpy(&low, codes + j, 8);
    std::memcpy(&high, codes + Half + j, 8);
    low |= high << 4; // codes are below 16, so no byte reaches into the next
    std::memcpy(out + j, &low, 8);
  }
}

/// Puts scales and codes of a batch together as GGUF's blocks.
template <class Format>
HWY_INLINE void fp4_join(const fp4_scales& all, const std::uint8_t* HWY_RESTRICT codes,
                         std::size_t blocks, std::byte* HWY_RESTRICT out) {
  constexpr std::size_t values = Format::block_values;
  for (std::size_t b = 0; b < blocks; b += Format::joined) {
    for (std::size_t s = 0; s < Format::joined; ++s)
      *out++ = static_cast<std::byte>(all.code[b + s]);
    for (std::size_t s = 0; s < Format::joined; ++s, out += values / 2)
      fp4_join_halves<values / 2>(codes + (b + s) * values, out);
  }
}

/// Encodes a multiple of fp4_group blocks to GGUF's blocks: each holds `Format::joined` scales and
/// then their codes, each scale's second half in the high nibbles of its first. Stores past the
/// cache take a whole batch, whose bytes are whole lines.
template <class Format, class Stores, class Source>
bool fp4_encode_halves(const Format& format, Source from, const std::byte* HWY_RESTRICT in,
                       std::size_t blocks, std::byte* HWY_RESTRICT out) {
  constexpr std::size_t values = Format::block_values;
  fp4_scales all;
  if (!fp4_scale_blocks(format, from, in, blocks, all))
    return false;
  constexpr std::size_t batch = fp4_batch_of<Format>();
  HWY_ALIGN std::uint8_t codes[batch * values];
  fp4_with_codes(format, from, in, all, [&](const auto& bytes_at) HWY_ATTR {
    for (std::size_t i = 0; i < blocks * values; i += 4 * lanes())
      hn::Store(bytes_at(i), du8(), codes + i);
  });
  if constexpr (std::is_same_v<Stores, cached_stores>) {
    fp4_join<Format>(all, codes, blocks, out);
  } else {
    constexpr std::size_t bytes = batch * (1 + values / 2);
    static_assert(bytes % 64 == 0);
    HWY_ALIGN std::uint8_t stage[bytes];
    fp4_join<Format>(all, codes, batch, reinterpret_cast<std::byte*>(stage));
    for (std::size_t i = 0; i < bytes; i += hn::MaxLanes(du8()))
      Stores::put(hn::Load(du8(), stage + i), du8(), reinterpret_cast<std::uint8_t*>(out) + i);
  }
  return true;
}

/// Encodes all blocks of `in` batch by batch: encode(stores, from, bytes of values, first block,
/// blocks) with a multiple of fp4_group blocks, the last ones on a copy padded with zeros, of which
/// `keep` says how many count. `out` is the plane of the codes, `bytes` to a block.
template <class Format, class Encode, class Keep>
status fp4_encode(const matrix& in, const std::byte* out, std::size_t bytes, const Encode& encode,
                  const Keep& keep) {
  return with_source(in.type, [&](auto from) -> status {
    constexpr std::size_t values = Format::block_values;
    constexpr std::size_t batch = fp4_batch_of<Format>();
    const std::size_t blocks = in.values() / values;
    const std::size_t whole = blocks / fp4_group * fp4_group;
    const std::size_t batches = blocks / batch * batch;
    const auto at = [&](std::size_t b) { return in.data + b * values * from.bytes; };
    const bool finite = with_stores(out, batches * bytes, [&](auto stores) {
      for (std::size_t b = 0; b < batches; b += batch)
        if (!encode(stores, from, at(b), b, batch))
          return false;
      return batches == whole
             || encode(cached_stores{}, from, at(batches), batches, whole - batches);
    });
    if (!finite)
      return refuse_not_finite(in);
    if (whole == blocks)
      return {};
    HWY_ALIGN std::byte rest[fp4_group * values * 4] = {};
    copy_bytes(rest, at(whole), (blocks - whole) * values * from.bytes);
    return keep(from, rest, whole, blocks - whole) ? status{} : refuse_not_finite(in);
  });
}

/// The two planes of compressed-tensors' formats.
template <class Format>
status fp4_encode_planes(const Format& format, const matrix& in, std::byte* codes,
                         std::byte* scales) {
  constexpr std::size_t bytes = Format::block_values / 2;
  return fp4_encode<Format>(
      in, codes, bytes,
      [&](auto stores, auto from, const std::byte* at, std::size_t first, std::size_t blocks) {
        return fp4_encode_pairs<Format, decltype(stores)>(format, from, at, blocks,
                                                          codes + first * bytes, scales + first);
      },
      [&](auto from, const std::byte* rest, std::size_t first, std::size_t blocks) {
        HWY_ALIGN std::byte rest_codes[fp4_group * bytes];
        std::byte rest_scales[fp4_group];
        if (!fp4_encode_pairs<Format, cached_stores>(format, from, rest, fp4_group, rest_codes,
                                                     rest_scales))
          return false;
        std::memcpy(codes + first * bytes, rest_codes, blocks * bytes);
        std::memcpy(scales + first, rest_scales, blocks);
        return true;
      });
}

/// The one plane of GGUF's formats.
template <class Format>
status fp4_encode_blocks(const Format& format, const matrix& in, std::byte* out) {
  constexpr std::size_t bytes = 1 + Format::block_values / 2;
  return fp4_encode<Format>(
      in, out, bytes,
      [&](auto stores, auto from, const std::byte* at, std::size_t first, std::size_t blocks) {
        return fp4_encode_halves<Format, decltype(stores)>(format, from, at, blocks,
                                                           out + first * bytes);
      },
      [&](auto from, const std::byte* rest, std::size_t first, std::size_t blocks) {
        std::byte rest_out[fp4_group * bytes];
        if (!fp4_encode_halves<Format, cached_stores>(format, from, rest, fp4_group, rest_out))
          return false;
        std::memcpy(out + first * bytes, rest_out, blocks * bytes);
        return true;
      });
}

// -- decode -------------------------------------------------------------------------------------

/// f32_from_e2m1 of every code.
alignas(64) inline constexpr float fp4_levels[16] = {
    0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
    -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f,
};

/// Decodes the two planes of compressed-tensors' formats; `load` loads a batch's scales
/// (each_unit).
template <std::size_t BlockValues, class Load>
HWY_INLINE void fp4_decode_planes(const std::byte* HWY_RESTRICT codes, std::size_t blocks,
                                  const Load& load, float* HWY_RESTRICT out) {
  const level_table levels(fp4_levels);
  with_stores(out, blocks * BlockValues * sizeof(float), [&](auto stores) {
    each_unit(blocks, load, [&](std::size_t b, float scale) VIVA_INLINE_LAMBDA {
      decode_pairs<nibble_order::low_first, decltype(stores)>(
          levels.times(scale), codes + b * BlockValues / 2, BlockValues, out + b * BlockValues);
    });
    return true;
  });
}

/// Decodes GGUF's blocks, each of `Joined` scales and then their codes.
template <std::size_t BlockValues, std::size_t Joined, class Load>
HWY_INLINE void fp4_decode_blocks(const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                  const Load& load, float* HWY_RESTRICT out) {
  constexpr std::size_t bytes = Joined * (1 + BlockValues / 2);
  const level_table levels(fp4_levels);
  const auto load_batch = [&](std::size_t first, std::size_t count, float* to) {
    HWY_ALIGN std::byte scales[scale_batch];
    const auto* block = in + first / Joined * bytes;
    for (std::size_t b = 0; b < count; b += Joined, block += bytes)
      std::memcpy(scales + b, block, Joined);
    load(scales, count, to);
  };
  with_stores(out, blocks * BlockValues * sizeof(float), [&](auto stores) {
    each_unit(blocks, load_batch, [&](std::size_t b, float scale) VIVA_INLINE_LAMBDA {
      const auto* block = in + b / Joined * bytes + Joined;
      decode_halves<BlockValues, decltype(stores)>(
          levels.times(scale), block + b % Joined * BlockValues / 2, out + b * BlockValues);
    });
    return true;
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
