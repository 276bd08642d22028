// Rows of keys and values as vectors of f32, out of what they lie in.
//
// A reader opens a row at a column for `columns` of them: run.at(i) is the i-th vector from there.

#include "kernels/attention_piece.hpp"
#include "kernels/decode-inl.hpp"
#include "kernels/q8_0.hpp"

#include <hwy/cache_control.h>

#include <algorithm>
#include <cstring>

#if defined(VIVA_KERNELS_ATTENTION_READERS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_ATTENTION_READERS_INL
#undef VIVA_KERNELS_ATTENTION_READERS_INL
#else
#define VIVA_KERNELS_ATTENTION_READERS_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

inline constexpr std::size_t few_tail = 8; ///< Columns of a tail, and what divides every head.

/// Values of a type, a vector at a time.
template <class Source>
struct typed_reader {
  static constexpr std::size_t columns = hn::MaxLanes(df32()), bytes = columns * Source::bytes;
  struct run {
    vf32 values;
    HWY_INLINE vf32 at(std::size_t) const {
      return values;
    }
  };
  /// `Tail`: the last 8 of a row, zeros behind.
  template <bool Tail>
  static HWY_INLINE run open(const std::byte* row, std::size_t col) {
    if constexpr (!Tail)
      return {load(Source(), row + col * Source::bytes)};
    HWY_ALIGN std::byte bytes[16 * Source::bytes] = {};
    std::memcpy(bytes, row + col * Source::bytes, few_tail * Source::bytes);
    return {load(Source(), bytes)};
  }
};

/// One f16 in every lane.
HWY_INLINE vf32 every_lane_of_f16(std::uint16_t bits) {
#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  const hn::Rebind<std::uint16_t, df32> d16;
  const hn::Rebind<hwy::float16_t, df32> dh;
  return hn::PromoteTo(df32(), hn::BitCast(dh, hn::Set(d16, bits)));
#else
  return f32_from_f16_bits(hn::Set(du32(), bits));
#endif
}

/// Blocks of q8_0, each a scale and its 32 codes. The product of both has 19 bits, so these are the
/// decoder's values; a scale that is no number makes every value none.
struct q8_0_reader {
  static constexpr std::size_t columns = ggml_block_values, bytes = q8_0::block_bytes;
  struct run {
    const std::byte* codes;
    vf32 scale;
    HWY_INLINE vf32 at(std::size_t i) const {
      const hn::Rebind<std::int8_t, df32> quarter;
      const auto* q = reinterpret_cast<const std::int8_t*>(codes) + i * lanes();
      const auto wide = hn::PromoteTo(di32(), hn::LoadU(quarter, q));
      return hn::Mul(hn::ConvertTo(df32(), wide), scale);
    }
  };
  /// `col`: where a block begins.
  template <bool Tail>
  static HWY_INLINE run open(const std::byte* row, std::size_t col) {
    static_assert(!Tail, "blocks are whole vectors");
    const std::byte* block = row + col / ggml_block_values * q8_0::block_bytes;
    std::uint16_t bits = 0;
    std::memcpy(&bits, block, sizeof bits);
    return {block + sizeof bits, every_lane_of_f16(bits)};
  }
};

/// body(i) for every vector that a reader opens.
template <class Reader, class Body>
HWY_INLINE void each_opened(const Body& body) {
  constexpr std::size_t count = Reader::columns / hn::MaxLanes(df32());
  if constexpr (count == 1) {
    body(std::size_t{0});
  } else {
    VIVA_UNROLL(8)
    for (std::size_t i = 0; i < count; ++i)
      body(i);
  }
}

/// Rows that meet a key at a time. More of them decode a tile once instead of each four anew.
inline constexpr std::size_t rows_together = 4;

struct few_tile {
  std::int32_t key;
  std::size_t keys;
};

/// Rows of k or of v, of keys [at, at + keys) of the tile.
struct few_run {
  const std::byte* rows;
  std::size_t pitch; ///< Bytes between rows.
  std::size_t at, keys;
  std::size_t ahead; ///< Bytes to the row that is fetched meanwhile; 0: rows lie in the cache.
};

/// How far ahead of the row in work rows are fetched: with two queries the processor's own fetching
/// does not keep up.
inline constexpr std::size_t few_ahead_bytes = std::size_t{4} << 10;

HWY_INLINE few_run run_where_it_lies(const std::byte* rows, std::size_t pitch, std::size_t keys,
                                     std::size_t row_bytes) {
  return {rows, pitch, 0, keys, pitch * ((few_ahead_bytes - 1) / row_bytes + 1)};
}

/// Fetches columns [col, col + count) of a later row, which may lie past the end: a prefetch cannot
/// fault.
template <class Reader>
HWY_INLINE void fetch_ahead(const few_run& run, const std::byte* row, std::size_t col,
                            std::size_t count) {
  const auto at = reinterpret_cast<std::uintptr_t>(row) + run.ahead
                  + col / Reader::columns * Reader::bytes;
  const std::size_t bytes = run.ahead == 0 ? 0 : count / Reader::columns * Reader::bytes;
  for (std::size_t line = 0; line < bytes; line += 64)
    hwy::Prefetch(reinterpret_cast<const std::byte*>(at + line));
}

/// Whether values are numbers, of whole vectors of them. Where scales are none, nothing made of
/// them is.
HWY_INLINE bool all_numbers(const float* at, std::size_t count) {
  auto largest = hn::Zero(di32());
  for (std::size_t i = 0; i < count; i += lanes())
    largest = hn::Max(largest, hn::BitCast(di32(), hn::Abs(hn::Load(df32(), at + i))));
  return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), infinity_bits)));
}

/// Whether the scales of a run of q8_0 are numbers, one by one: asked where sums are none.
inline bool whole_blocks(const few_run& run, std::size_t cols) {
  for (std::size_t key = 0; key < run.keys; ++key)
    for (std::size_t block = 0; block < cols / ggml_block_values; ++block)
      if (!q8_0::is_whole(run.rows + key * run.pitch + block * q8_0::block_bytes))
        return false;
  return true;
}

/// Keys that are decoded at a time: 32 KiB of them.
HWY_INLINE constexpr std::size_t few_decoded_keys(std::size_t cols) {
  return (std::size_t{32} << 10) / sizeof(float) / cols / 4 * 4;
}

/// Calls body(reader, run) for runs of the tile's rows of one side: one where they lie, or short
/// ones decoded into `decoded`; then sums_are_numbers(), which tells of scales that are none.
template <class Body, class Numbers>
HWY_INLINE status over_runs(const attention::piece& of, const attention::source_rows& side,
                            const few_tile& tile, float* decoded, const Body& body,
                            const Numbers& sums_are_numbers) {
  const auto first = static_cast<std::size_t>(tile.key);
  if (side.encoded == nullptr) {
    const auto run =
        run_where_it_lies(side.at(of.sequence, of.kv_head, first), side.bytes.row, tile.keys,
                          of.of->head_size * kernels::bytes_of(side.type));
    with_source(side.type, [&](auto source) { body(typed_reader<decltype(source)>(), run); });
    return {};
  }
  const std::size_t cols = of.of->head_size;
  const auto blocks =
      attention::q8_0_rows(*side.encoded, of.sequence, of.kv_head, side.skipped + first);
  if (blocks.first != nullptr && of.rows <= rows_together) {
    const auto run = run_where_it_lies(blocks.first, blocks.pitch, tile.keys,
                                       cols / ggml_block_values * q8_0::block_bytes);
    body(q8_0_reader(), run);
    return sums_are_numbers() || whole_blocks(run, cols) ? status{} : status{errc::malformed};
  }
  for (std::size_t at = 0; at < tile.keys; at += few_decoded_keys(cols)) {
    const std::size_t keys = std::min(few_decoded_keys(cols), tile.keys - at);
    const auto made = attention::decode_rows(*side.encoded, cols, of.sequence, of.kv_head,
                                             side.skipped + first + at, keys, decoded);
    if (!made.done)
      return made.done;
    const auto* rows = reinterpret_cast<const std::byte*>(made.first);
    body(typed_reader<source<dtype::f32>>(), few_run{rows, cols * sizeof(float), at, keys, 0});
  }
  return {};
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
