// The frame of GGUF block formats: batches of blocks, three passes each, in cache.
//
//   A  fold every block (fold-inl.hpp)          extremes of 32 blocks
//   S  scales and reciprocals, 4 to 16 blocks at a time
//   B  quantize, pack, put the blocks together
//
// One division then serves as many blocks as a vector has lanes. A block is f16 d, f16 m where the
// format has a minimum, then code_bytes of codes. A Format has block_bytes, code_bytes, has_min and
// the functions `scales`, `codes` and `values`.

#include "kernels/decode-inl.hpp"
#include "kernels/ggml_scales-inl.hpp"
#include "kernels/pack-inl.hpp"
#include "kernels/stream-inl.hpp"

#include <cstring>

#if defined(VIVA_KERNELS_GGML_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_GGML_INL
#undef VIVA_KERNELS_GGML_INL
#else
#define VIVA_KERNELS_GGML_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

// -- leaving ------------------------------------------------------------------------------------

/// A batch's bytes on their way past the cache, a line for each step of the next batch's
/// codes: all at once they would take the places where prefetches wait.
struct ggml_outbox {
  const std::uint8_t* from = nullptr;
  std::uint8_t* to = nullptr;
  std::size_t lines = 0;

  HWY_INLINE void leave(std::size_t most) {
    for (; most != 0 && lines != 0; --most, --lines, from += 64, to += 64) {
      VIVA_UNROLL(4)
      for (std::size_t i = 0; i < 64; i += hn::MaxLanes(du8()))
        past_cache_stores::put(hn::Load(du8(), from + i), du8(), to + i);
    }
  }
};

// -- codes --------------------------------------------------------------------------------------

/// One byte per value: code(x, b) of every value of block b.
template <class Source, class Code>
HWY_INLINE void ggml_byte_codes(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                std::uint8_t* HWY_RESTRICT out, ggml_outbox& before,
                                const Code& code) {
  constexpr std::size_t step = 4 * hn::MaxLanes(df32());
  for (std::size_t i = 0; i < blocks * ggml_block_values; i += step) {
    prefetch_ahead(in + i * from.bytes, step * from.bytes);
    before.leave(1);
    vi32 q[4];
    VIVA_UNROLL(4)
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t at = i + k * lanes();
      q[k] = code(load(from, in + at * from.bytes), at / ggml_block_values);
    }
    hn::Store(pack_u8(q[0], q[1], q[2], q[3]), du8(), out + i);
  }
}

/// Nibbles without bytes in between: byte j of a block holds code(x, b) of value j below and of
/// value j + 16 above.
template <class Source, class Code>
HWY_INLINE void ggml_nibble_codes(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                  std::uint8_t* HWY_RESTRICT out, ggml_outbox& before,
                                  const Code& code) {
  constexpr std::size_t half = ggml_block_values / 2;
  constexpr std::size_t step = 4 * hn::MaxLanes(df32()); // bytes of one packed vector
  for (std::size_t i = 0; i < blocks * half; i += step) {
    prefetch_ahead(in + 2 * i * from.bytes, 2 * step * from.bytes);
    before.leave(1);
    vi32 pairs[4];
    VIVA_UNROLL(4)
    for (std::size_t k = 0; k < 4; ++k) {
      const std::size_t at = i + k * lanes(); // byte `at` of the codes, half of them per block
      const std::size_t block = at / half;
      const std::byte* x = in + (at + block * half) * from.bytes;
      const auto low = code(load(from, x), block);
      const auto high = code(load(from, x + half * from.bytes), block);
      pairs[k] = hn::Or(low, hn::ShiftLeft<4>(high));
    }
    hn::StoreU(pack_u8(pairs[0], pairs[1], pairs[2], pairs[3]), du8(), out + i);
  }
}

using d8x16 = hn::CappedTag<std::uint8_t, 16>;

/// The low nibbles of a block's 32 codes: byte j holds value j below, value j + 16 above.
HWY_INLINE void ggml_store_nibbles(const std::uint8_t* HWY_RESTRICT codes,
                                   std::uint8_t* HWY_RESTRICT out) {
  const d8x16 d;
  const auto nibble = hn::Set(d, std::uint8_t{15});
  const auto low = hn::And(hn::Load(d, codes), nibble);
  const auto high = hn::And(hn::Load(d, codes + 16), nibble);
  hn::StoreU(hn::Or(low, hn::ShiftLeft<4>(high)), d, out);
}

/// Bit 4 of a block's 32 codes as 4 bytes, value 0 in the lowest bit.
HWY_INLINE void ggml_store_fifth_bits(const std::uint8_t* HWY_RESTRICT codes,
                                      std::uint8_t* HWY_RESTRICT out) {
  const hn::CappedTag<std::uint8_t, 32> d;
  constexpr std::size_t step = hn::MaxLanes(d);
  for (std::size_t i = 0; i < ggml_block_values; i += step) {
    HWY_ALIGN std::uint8_t bits[8] = {}; // StoreMaskBits may write 8
    const auto fifth = hn::Set(d, std::uint8_t{16});
    hn::StoreMaskBits(d, hn::TestBit(hn::Load(d, codes + i), fifth), bits);
    std::memcpy(out + i / 8, bits, step / 8);
  }
}

/// The 32 codes of a block as i32 vectors: body(j, codes) for values j … j + lanes(), in order.
template <class Body>
HWY_INLINE void ggml_each_nibble(const std::uint8_t* HWY_RESTRICT nibbles, const Body& body) {
  const hn::Rebind<std::uint8_t, df32> quarter;
  constexpr std::size_t half = ggml_block_values / 2;
  vi32 bytes[half / hn::MaxLanes(df32())];
  VIVA_UNROLL(4)
  for (std::size_t j = 0; j < half; j += lanes()) {
    bytes[j / lanes()] = hn::PromoteTo(di32(), hn::LoadU(quarter, nibbles + j));
    body(j, hn::And(bytes[j / lanes()], hn::Set(di32(), 15)));
  }
  VIVA_UNROLL(4)
  for (std::size_t j = 0; j < half; j += lanes())
    body(j + half, hn::ShiftRight<4>(bytes[j / lanes()]));
}

/// The same with a fifth bit: `codes` are 4 bytes of those, then 16 of nibbles.
template <class Body>
HWY_INLINE void ggml_each_five_bits(const std::uint8_t* HWY_RESTRICT codes, const Body& body) {
  const d8x16 d;
  const hn::Rebind<std::uint8_t, df32> quarter;
  HWY_ALIGN static constexpr std::uint8_t bit_of_lane[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                                             1, 2, 4, 8, 16, 32, 64, 128};
  HWY_ALIGN static constexpr std::uint8_t byte_of_lane[16] = {0, 0, 0, 0, 0, 0, 0, 0,
                                                              1, 1, 1, 1, 1, 1, 1, 1};
  HWY_ALIGN std::uint8_t code[ggml_block_values];
  const auto nibbles = hn::LoadU(d, codes + 4);
  const auto put = [&](std::size_t half, hn::Vec<d8x16> low) VIVA_INLINE_LAMBDA {
    std::uint16_t fifth = 0;
    std::memcpy(&fifth, codes + 2 * half, sizeof fifth);
    const auto bytes = hn::BitCast(d, hn::Set(hn::CappedTag<std::uint16_t, 8>(), fifth));
    const auto bits = hn::TableLookupBytes(bytes, hn::Load(d, byte_of_lane));
    const auto set = hn::TestBit(bits, hn::Load(d, bit_of_lane));
    const auto high = hn::IfThenElseZero(set, hn::Set(d, std::uint8_t{16}));
    hn::Store(hn::Or(low, high), d, code + 16 * half);
  };
  put(0, hn::And(nibbles, hn::Set(d, std::uint8_t{15})));
  put(1, hn::ShiftRight<4>(nibbles));
  VIVA_UNROLL(8)
  for (std::size_t j = 0; j < ggml_block_values; j += lanes())
    body(j, hn::PromoteTo(di32(), hn::Load(quarter, code + j)));
}

// -- blocks -------------------------------------------------------------------------------------

/// Puts a batch's scales and codes together, block by block.
template <class Format>
HWY_INLINE void ggml_join(const ggml_scales& scales, const std::uint8_t* HWY_RESTRICT codes,
                          std::size_t blocks, std::byte* HWY_RESTRICT out) {
  constexpr std::size_t header = Format::has_min ? 4 : 2;
  for (std::size_t b = 0; b < blocks; ++b, out += Format::block_bytes) {
    std::memcpy(out, &scales.f16[b], 2);
    if constexpr (Format::has_min)
      std::memcpy(out + 2, &scales.f16_min[b], 2);
    std::memcpy(out + header, codes + b * Format::code_bytes, Format::code_bytes);
  }
}

/// Encodes `blocks` blocks, a multiple of four and at most a batch, while the batch before leaves.
/// False, where a value is not finite.
template <class Format, class Source>
HWY_INLINE bool ggml_encode_batch(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                  std::byte* HWY_RESTRICT out, ggml_outbox& before) {
  ggml_scales scales;
  if (!Format::scales(from, in, blocks, scales))
    return false;
  HWY_ALIGN std::uint8_t codes[ggml_batch * Format::code_bytes];
  Format::codes(from, in, blocks, scales, codes, before);
  ggml_join<Format>(scales, codes, blocks, out);
  return true;
}

template <class Format, class Source>
HWY_NOINLINE bool ggml_encode_cached(Source from, const std::byte* in, std::size_t blocks,
                                     std::byte* out) {
  ggml_outbox empty;
  return ggml_encode_batch<Format>(from, in, blocks, out, empty);
}

/// Whole batches past the cache. A batch's bytes, whole lines, are put together apart and leave
/// while the next one is encoded; loads of a line right behind the stores of its blocks would wait
/// for them.
template <class Format, class Source>
HWY_NOINLINE bool ggml_encode_past_cache(Source from, const std::byte* in, std::size_t batches,
                                         std::byte* out) {
  constexpr std::size_t bytes = ggml_batch * Format::block_bytes;
  constexpr std::size_t batch_values = ggml_batch * ggml_block_values;
  static_assert(bytes % 64 == 0);
  HWY_ALIGN std::uint8_t stages[2][bytes];
  ggml_outbox outbox;
  bool finite = true;
  for (std::size_t b = 0; b < batches && finite; ++b) {
    auto* stage = stages[b % 2];
    finite = ggml_encode_batch<Format>(from, in + b * batch_values * from.bytes, ggml_batch,
                                       reinterpret_cast<std::byte*>(stage), outbox);
    outbox.leave(outbox.lines);
    outbox = {stage, reinterpret_cast<std::uint8_t*>(out) + b * bytes, bytes / 64};
  }
  if (finite)
    outbox.leave(outbox.lines);
  hwy::FlushStream();
  return finite;
}

/// Encodes all blocks of `in`; a last group of fewer than four is padded with zeros.
template <class Format>
status ggml_encode(const matrix& in, std::byte* out) {
  return with_source(in.type, [&](auto from) -> status {
    constexpr std::size_t values = ggml_block_values;
    const std::size_t blocks = in.values() / values;
    const std::size_t whole = blocks / 4 * 4;
    const std::size_t batches = blocks / ggml_batch;
    const auto source_at = [&](std::size_t b) { return in.data + b * values * from.bytes; };
    const auto out_at = [&](std::size_t b) { return out + b * Format::block_bytes; };
    std::size_t done = 0;
    if (stores_past_cache(out, batches * ggml_batch * Format::block_bytes)) {
      if (!ggml_encode_past_cache<Format>(from, in.data, batches, out))
        return refuse_not_finite(in);
      done = batches * ggml_batch;
    }
    for (; done < whole; done = std::min(done + ggml_batch, whole))
      if (!ggml_encode_cached<Format>(from, source_at(done), std::min(ggml_batch, whole - done),
                                      out_at(done)))
        return refuse_not_finite(in);
    if (whole == blocks)
      return {};
    HWY_ALIGN std::byte rest_in[4 * values * 4] = {};
    HWY_ALIGN std::byte rest_out[4 * Format::block_bytes];
    std::memcpy(rest_in, source_at(whole), (blocks - whole) * values * from.bytes);
    if (!ggml_encode_cached<Format>(from, rest_in, 4, rest_out))
      return refuse_not_finite(in);
    std::memcpy(out_at(whole), rest_out, (blocks - whole) * Format::block_bytes);
    return {};
  });
}

/// f32 of one f16 of the head of every block of a batch. Raises `largest` to the magnitudes' bits.
HWY_INLINE void ggml_load_scales(const std::byte* HWY_RESTRICT in, std::size_t stride,
                                 std::size_t blocks, vi32& largest, float* HWY_RESTRICT out) {
  HWY_ALIGN std::uint16_t bits[ggml_batch] = {};
  for (std::size_t b = 0; b < blocks; ++b)
    std::memcpy(bits + b, in + b * stride, 2);
  for (std::size_t b = 0; b < blocks; b += lanes()) {
    const auto v = load(source<dtype::f16>{}, reinterpret_cast<const std::byte*>(bits + b));
    largest = hn::Max(largest, hn::BitCast(di32(), hn::Abs(v)));
    hn::Store(v, df32(), out + b);
  }
}

/// Decodes `blocks` blocks: Format::values(codes, d, out) for each, or (codes, d, m, out).
template <class Format, class Stores>
status ggml_decode_by(const std::byte* in, std::size_t blocks, float* out) {
  auto largest = hn::Zero(di32());
  for (std::size_t b = 0; b < blocks; b += ggml_batch) {
    const std::size_t count = std::min(ggml_batch, blocks - b);
    HWY_ALIGN float d[ggml_batch];
    HWY_ALIGN float min[ggml_batch];
    const auto* block = in + b * Format::block_bytes;
    ggml_load_scales(block, Format::block_bytes, count, largest, d);
    if constexpr (Format::has_min)
      ggml_load_scales(block + 2, Format::block_bytes, count, largest, min);
    for (std::size_t i = 0; i < count; ++i, block += Format::block_bytes) {
      float* to = out + (b + i) * ggml_block_values;
      if constexpr (Format::has_min)
        Format::template values<Stores>(reinterpret_cast<const std::uint8_t*>(block + 4), d[i],
                                        min[i], to);
      else
        Format::template values<Stores>(reinterpret_cast<const std::uint8_t*>(block + 2), d[i], to);
    }
  }
  const auto finite = hn::Lt(largest, hn::Set(di32(), infinity_bits));
  return hn::AllTrue(di32(), finite) ? status{} : status{errc::malformed};
}

template <class Format>
status ggml_decode(const std::byte* in, std::size_t blocks, float* out) {
  return with_stores(out, blocks * ggml_block_values * 4, [&](auto stores) {
    return ggml_decode_by<Format, decltype(stores)>(in, blocks, out);
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
