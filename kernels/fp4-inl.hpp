// The frame of the FP4 formats: blocks of E2M1 codes that share one 8-bit scale, 64 blocks at a
// time, in cache.
//
//   A  fold every block (fold-inl.hpp)          largest magnitudes
//   S  scale codes and what values are scaled by, 4 to 16 blocks at a time
//   B  quantize and pack
//
// A Format has block_values and
//   scale(amax, code, factor)      the scale's byte and the factor of a vector of blocks
//   refine(from, in, blocks, all)  mends both with another look at the values; may do nothing
//   code(x, factor)                the E2M1 codes of values that share a factor, or lanes of it

#include "kernels/fold-inl.hpp"
#include "kernels/minifloat-inl.hpp"

#include <cstring>

#if defined(VIVA_KERNELS_FP4_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_FP4_INL
#undef VIVA_KERNELS_FP4_INL
#else
#define VIVA_KERNELS_FP4_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

inline constexpr std::size_t fp4_batch = 64; ///< Blocks: 4 to 8 KiB of f32.
inline constexpr std::size_t fp4_group = 8;  ///< Blocks of one step, on the widest target.

struct fp4_scales {
  HWY_ALIGN std::int32_t amax[fp4_batch] = {}; ///< Bits of the largest magnitudes.
  HWY_ALIGN std::int32_t code[fp4_batch] = {};
  HWY_ALIGN float factor[fp4_batch] = {};
};

/// Passes A and S. False, where a value is not finite.
template <class Format, class Source>
HWY_INLINE bool fp4_scale_blocks(const Format& format, Source from,
                                 const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                 fp4_scales& all) {
  const di32 di;
  fold_blocks<magnitude_fold>(from, in, Format::block_values, blocks, all.amax);
  auto largest = hn::Zero(di);
  for (std::size_t b = 0; b < blocks; b += lanes()) {
    const auto amax = hn::Load(di, all.amax + b);
    largest = hn::Max(largest, amax);
    vi32 code;
    vf32 factor;
    format.scale(hn::BitCast(df32(), amax), code, factor);
    hn::Store(code, di, all.code + b);
    hn::Store(factor, df32(), all.factor + b);
  }
  if (!hn::AllTrue(di, hn::Lt(largest, hn::Set(di, infinity_bits))))
    return false;
  format.refine(from, in, blocks, all);
  return true;
}

/// The codes of values [at, at + 4 lanes), one per byte.
template <class Format, class Source>
HWY_INLINE vu8 fp4_code_bytes(const Format& format, Source from, const std::byte* HWY_RESTRICT in,
                              const fp4_scales& all, std::size_t at) {
  vi32 code[4];
  for (std::size_t k = 0; k < 4; ++k) {
    const std::size_t i = at + k * lanes();
    const auto factor = hn::Set(df32(), all.factor[i / Format::block_values]);
    code[k] = format.code(load(from, in + i * from.bytes), factor);
  }
  return pack_u8(code[0], code[1], code[2], code[3]);
}

/// Encodes a multiple of fp4_group blocks: codes two per byte, the first of a pair in the low
/// nibble, and one byte for each scale. False, where a value is not finite.
template <class Format, class Source>
bool fp4_encode_pairs(const Format& format, Source from, const std::byte* HWY_RESTRICT in,
                      std::size_t blocks, std::byte* HWY_RESTRICT codes,
                      std::byte* HWY_RESTRICT scales) {
  fp4_scales all;
  if (!fp4_scale_blocks(format, from, in, blocks, all))
    return false;
  for (std::size_t b = 0; b < blocks; ++b)
    scales[b] = static_cast<std::byte>(all.code[b]);
  auto* out = reinterpret_cast<std::uint8_t*>(codes);
  for (std::size_t i = 0; i < blocks * Format::block_values; i += 8 * lanes()) {
    const auto lower = fp4_code_bytes(format, from, in, all, i);
    const auto upper = fp4_code_bytes(format, from, in, all, i + 4 * lanes());
    hn::StoreU(pack_u16(pair_nibbles_low_first(lower), pair_nibbles_low_first(upper)), du8(),
               out + i / 2);
  }
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

/// Encodes a multiple of fp4_group blocks to GGUF's blocks: each holds `Format::joined` scales and
/// then their codes, each scale's second half in the high nibbles of its first.
template <class Format, class Source>
bool fp4_encode_halves(const Format& format, Source from, const std::byte* HWY_RESTRICT in,
                       std::size_t blocks, std::byte* HWY_RESTRICT out) {
  constexpr std::size_t values = Format::block_values;
  fp4_scales all;
  if (!fp4_scale_blocks(format, from, in, blocks, all))
    return false;
  HWY_ALIGN std::uint8_t codes[fp4_batch * values];
  for (std::size_t i = 0; i < blocks * values; i += 4 * lanes())
    hn::Store(fp4_code_bytes(format, from, in, all, i), du8(), codes + i);
  for (std::size_t b = 0; b < blocks; b += Format::joined) {
    for (std::size_t s = 0; s < Format::joined; ++s)
      *out++ = static_cast<std::byte>(all.code[b + s]);
    for (std::size_t s = 0; s < Format::joined; ++s, out += values / 2)
      fp4_join_halves<values / 2>(codes + (b + s) * values, out);
  }
  return true;
}

/// Encodes all blocks of `in` batch by batch: encode(from, bytes of values, first block, blocks)
/// with a multiple of fp4_group blocks, the last ones on a copy padded with zeros, of which `keep`
/// says how many count.
template <std::size_t BlockValues, class Encode, class Keep>
status fp4_encode(const matrix& in, const Encode& encode, const Keep& keep) {
  return with_source(in.type, [&](auto from) -> status {
    const std::size_t blocks = in.values() / BlockValues;
    const std::size_t whole = blocks / fp4_group * fp4_group;
    for (std::size_t b = 0; b < whole; b += fp4_batch)
      if (!encode(from, in.data + b * BlockValues * from.bytes, b, std::min(fp4_batch, whole - b)))
        return refuse_not_finite(in);
    if (whole == blocks)
      return {};
    HWY_ALIGN std::byte rest[fp4_group * BlockValues * 4] = {};
    copy_bytes(rest, in.data + whole * BlockValues * from.bytes,
               (blocks - whole) * BlockValues * from.bytes);
    return keep(from, rest, whole, blocks - whole) ? status{} : refuse_not_finite(in);
  });
}

/// The two planes of compressed-tensors' formats.
template <class Format>
status fp4_encode_planes(const Format& format, const matrix& in, std::byte* codes,
                         std::byte* scales) {
  constexpr std::size_t bytes = Format::block_values / 2;
  return fp4_encode<Format::block_values>(
      in,
      [&](auto from, const std::byte* at, std::size_t first, std::size_t blocks) {
        return fp4_encode_pairs(format, from, at, blocks, codes + first * bytes, scales + first);
      },
      [&](auto from, const std::byte* rest, std::size_t first, std::size_t blocks) {
        HWY_ALIGN std::byte rest_codes[fp4_group * bytes];
        std::byte rest_scales[fp4_group];
        if (!fp4_encode_pairs(format, from, rest, fp4_group, rest_codes, rest_scales))
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
  return fp4_encode<Format::block_values>(
      in,
      [&](auto from, const std::byte* at, std::size_t first, std::size_t blocks) {
        return fp4_encode_halves(format, from, at, blocks, out + first * bytes);
      },
      [&](auto from, const std::byte* rest, std::size_t first, std::size_t blocks) {
        std::byte rest_out[fp4_group * bytes];
        if (!fp4_encode_halves(format, from, rest, fp4_group, rest_out))
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

/// One block whose codes lie in pairs.
template <std::size_t BlockValues>
HWY_INLINE void fp4_decode_pairs(const std::byte* HWY_RESTRICT codes, float scale,
                                 float* HWY_RESTRICT out) {
  const auto scales = hn::Set(df32(), scale);
  for (std::size_t i = 0; i < BlockValues; i += lanes())
    hn::StoreU(hn::Mul(lookup16(fp4_levels, nibbles_low_first(codes + i / 2)), scales), df32(),
               out + i);
}

/// One block whose codes lie in halves.
template <std::size_t BlockValues>
HWY_INLINE void fp4_decode_halves(const std::byte* HWY_RESTRICT codes, float scale,
                                  float* HWY_RESTRICT out) {
  constexpr std::size_t half = BlockValues / 2;
  const auto scales = hn::Set(df32(), scale);
  const auto put = [&](vi32 code, float* to) {
    hn::StoreU(hn::Mul(lookup16(fp4_levels, code), scales), df32(), to);
  };
  const hn::Rebind<std::uint8_t, df32> quarter;
  if constexpr (hn::MaxLanes(df32()) <= half) {
    for (std::size_t j = 0; j < half; j += lanes()) {
      const auto* at = reinterpret_cast<const std::uint8_t*>(codes) + j;
      const auto byte = hn::PromoteTo(di32(), hn::LoadU(quarter, at));
      put(byte, out + j); // lookup16 ignores the upper bits
      put(hn::ShiftRight<4>(byte), out + half + j);
    }
  } else { // both halves in one vector
    static_assert(hn::MaxLanes(df32()) == BlockValues || hn::MaxLanes(df32()) <= half);
    HWY_ALIGN std::uint8_t code[BlockValues];
    for (std::size_t j = 0; j < half; ++j) {
      code[j] = static_cast<std::uint8_t>(codes[j]);
      code[half + j] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(codes[j]) >> 4);
    }
    put(hn::PromoteTo(di32(), hn::Load(quarter, code)), out);
  }
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
