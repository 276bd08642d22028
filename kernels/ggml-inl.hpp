// The frame of GGUF block formats: batches of blocks, three passes each, in cache.
//
//   A  fold every block (fold-inl.hpp)          extremes of 64 blocks
//   S  scales and reciprocals, 4 to 16 blocks at a time
//   B  quantize, pack, put the blocks together
//
// One division then serves as many blocks as a vector has lanes. A Format has block_values,
// block_bytes, code_bytes and the two functions `scales` and `codes`.

#include "kernels/fold-inl.hpp"
#include "kernels/pack-inl.hpp"

#include <cstring>

#if defined(VIVA_KERNELS_GGML_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_GGML_INL
#undef VIVA_KERNELS_GGML_INL
#else
#define VIVA_KERNELS_GGML_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

inline constexpr std::size_t ggml_batch = 64; ///< Blocks: 8 KiB of f32.

/// The scales of a batch.
struct ggml_scales {
  HWY_ALIGN float d[ggml_batch] = {};
  HWY_ALIGN float inverse[ggml_batch] = {};
  HWY_ALIGN std::uint16_t f16[ggml_batch] = {};

  /// ggml_inverse and ggml_f16 of every d.
  HWY_INLINE void finish(std::size_t blocks) {
    const df32 tag;
    const auto infinity = hn::Set(tag, float_of(infinity_bits));
    const auto largest = hn::Set(tag, 65504.0f);
    for (std::size_t b = 0; b < blocks; b += lanes()) {
      const auto v = hn::Load(tag, d + b);
      const auto reciprocal = hn::Div(hn::Set(tag, 1.0f), v);
      const auto usable = hn::Lt(hn::Abs(reciprocal), infinity); // false for 1 / 0 too
      hn::Store(hn::IfThenElseZero(usable, reciprocal), tag, inverse + b);
      store_u16(f16_bits(hn::Max(hn::Min(v, largest), hn::Neg(largest))),
                reinterpret_cast<std::byte*>(f16 + b));
    }
  }
};

/// Encodes `blocks` blocks, a multiple of four and at most a batch. False, where a value is not
/// finite.
template <class Format, class Source>
bool ggml_encode_batch(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                       std::byte* HWY_RESTRICT out) {
  ggml_scales scales;
  if (!Format::scales(from, in, blocks, scales))
    return false;
  HWY_ALIGN std::uint8_t codes[ggml_batch * Format::code_bytes];
  Format::codes(from, in, blocks, scales.inverse, codes);
  for (std::size_t b = 0; b < blocks; ++b) {
    std::memcpy(out + b * Format::block_bytes, &scales.f16[b], 2);
    std::memcpy(out + b * Format::block_bytes + 2, codes + b * Format::code_bytes,
                Format::code_bytes);
  }
  return true;
}

/// Encodes all blocks of `in`; a last group of fewer than four is padded with zeros.
template <class Format>
status ggml_encode(const matrix& in, std::byte* out) {
  return with_source(in.type, [&](auto from) -> status {
    constexpr std::size_t values = Format::block_values;
    const std::size_t blocks = in.values() / values;
    const std::size_t whole = blocks / 4 * 4;
    for (std::size_t b = 0; b < whole; b += ggml_batch)
      if (!ggml_encode_batch<Format>(from, in.data + b * values * from.bytes,
                                     std::min(ggml_batch, whole - b),
                                     out + b * Format::block_bytes))
        return refuse_not_finite(in);
    if (whole == blocks)
      return {};
    HWY_ALIGN std::byte rest_in[4 * values * 4] = {};
    HWY_ALIGN std::byte rest_out[4 * Format::block_bytes];
    std::memcpy(rest_in, in.data + whole * values * from.bytes,
                (blocks - whole) * values * from.bytes);
    if (!ggml_encode_batch<Format>(from, rest_in, 4, rest_out))
      return refuse_not_finite(in);
    std::memcpy(out + whole * Format::block_bytes, rest_out,
                (blocks - whole) * Format::block_bytes);
    return {};
  });
}

/// Decodes `blocks` blocks: Format::values(block, d, out) for each, d from its first two bytes.
template <class Format>
status ggml_decode(const std::byte* in, std::size_t blocks, float* out) {
  const di32 di;
  auto largest = hn::Zero(di);
  for (std::size_t b = 0; b < blocks; b += ggml_batch) {
    const std::size_t count = std::min(ggml_batch, blocks - b);
    HWY_ALIGN std::uint16_t bits[ggml_batch] = {};
    HWY_ALIGN float d[ggml_batch];
    for (std::size_t i = 0; i < count; ++i)
      std::memcpy(bits + i, in + (b + i) * Format::block_bytes, 2);
    for (std::size_t i = 0; i < count; i += lanes()) {
      const auto v = load(source<dtype::f16>{}, reinterpret_cast<const std::byte*>(bits + i));
      largest = hn::Max(largest, hn::BitCast(di, hn::Abs(v)));
      hn::Store(v, df32(), d + i);
    }
    for (std::size_t i = 0; i < count; ++i)
      Format::values(in + (b + i) * Format::block_bytes + 2, d[i],
                     out + (b + i) * Format::block_values);
  }
  const bool finite = hn::AllTrue(di, hn::Lt(largest, hn::Set(di, infinity_bits)));
  return finite ? status{} : status{errc::malformed};
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
