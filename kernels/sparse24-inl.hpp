// 2:4 pruning in vectors: which lanes are kept, kept lanes moved together, and back.

#include "kernels/decode-inl.hpp"
#include "kernels/pack-inl.hpp"
#include "kernels/sparse24.hpp"

#include <array>
#include <bit>
#include <cmath>

#if defined(VIVA_KERNELS_SPARSE24_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_SPARSE24_INL
#undef VIVA_KERNELS_SPARSE24_INL
#else
#define VIVA_KERNELS_SPARSE24_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

using mi32 = hn::Mask<di32>;

/// Values of one step: pairs of vectors, whose kept lanes fill one, and whole bytes of the bitmask.
inline constexpr std::size_t sparse24_step = std::max<std::size_t>(16, 2 * hn::MaxLanes(df32()));

// -- values as they lie in the source, one per lane ---------------------------------------------

template <class Source>
HWY_INLINE vu32 load_raw(Source from, const std::byte* at) {
  if constexpr (from.bytes == 4) {
    return hn::LoadU(du32(), reinterpret_cast<const std::uint32_t*>(at));
  } else {
    const hn::Rebind<std::uint16_t, du32> narrow;
    return hn::PromoteTo(du32(), hn::LoadU(narrow, reinterpret_cast<const std::uint16_t*>(at)));
  }
}

/// Stores lanes at their source's width.
template <class Stores, class Source>
HWY_INLINE void store_raw(Source from, vu32 v, std::byte* at) {
  if constexpr (from.bytes == 4) {
    Stores::put(v, du32(), reinterpret_cast<std::uint32_t*>(at));
  } else {
    const hn::Rebind<std::uint16_t, du32> narrow;
    Stores::put(hn::DemoteTo(narrow, hn::BitCast(di32(), v)), narrow,
                reinterpret_cast<std::uint16_t*>(at));
  }
}

/// The bits without sign order as the magnitudes do, in every type.
template <class Source>
HWY_INLINE vi32 raw_magnitude(Source from, vu32 raw) {
  const auto bits = hn::Set(du32(), from.bytes == 4 ? 0x7FFFFFFFu : 0x7FFFu);
  return hn::BitCast(di32(), hn::And(raw, bits));
}

/// Raw magnitudes at or above this are not finite.
constexpr std::int32_t raw_infinity(dtype type) {
  return type == dtype::f32 ? 0x7F800000 : type == dtype::bf16 ? 0x7F80 : 0x7C00;
}

// -- scores ---------------------------------------------------------------------------------------

/// |x|. `at` is where the values lie, `col` their first column.
struct by_magnitude {
  template <class Source>
  HWY_INLINE vi32 operator()(Source, const std::byte*, std::size_t, vi32 magnitude) const {
    return magnitude;
  }
};

/// |x| * roots[col].
struct by_importance {
  const float* roots;
  template <class Source>
  HWY_INLINE vi32 operator()(Source from, const std::byte* at, std::size_t col, vi32) const {
    const auto product = hn::Mul(hn::Abs(load(from, at)), hn::LoadU(df32(), roots + col));
    return hn::BitCast(di32(), product);
  }
};

/// The lanes whose score is one of the two largest in their group. Scores are not negative.
HWY_INLINE mi32 sparse24_kept(vi32 score) {
  // A partner in a lower lane wins a tie: score - 1 - partner is negative on equality, too.
  alignas(16) static constexpr std::int32_t lower1[4] = {0, 0, 0, 1};
  alignas(16) static constexpr std::int32_t lower2[4] = {0, 0, 1, 1};
  alignas(16) static constexpr std::int32_t lower3[4] = {0, 1, 1, 1};
  const di32 d;
  const auto beaten = [&](vi32 partner, const std::int32_t* lower) { // in the sign bit
    return hn::Sub(hn::Sub(score, hn::LoadDup128(d, lower)), partner);
  };
  const auto b1 = beaten(hn::Shuffle0321(score), lower1);
  const auto b2 = beaten(hn::Shuffle1032(score), lower2);
  const auto b3 = beaten(hn::Shuffle2103(score), lower3);
  const auto twice = hn::Or(hn::And(b1, b2), hn::And(b3, hn::Or(b1, b2)));
  return hn::Gt(twice, hn::Set(d, -1)); // sign bit clear
}

// -- lanes together and apart ---------------------------------------------------------------------

HWY_INLINE unsigned lane_bits(mi32 mask) {
#if VIVA_X86_256
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(mask.raw)));
#elif VIVA_X86_512
  return mask.raw;
#else
  std::uint8_t bytes[8];
  hn::StoreMaskBits(di32(), mask, bytes);
  return bytes[0];
#endif
}

#if VIVA_X86_256
/// For each byte of a bitmask, 8 bytes: the lanes of its set bits first (move together), or the
/// place of each set bit among them and lane 7 elsewhere (move apart).
struct sparse24_lanes {
  std::array<std::uint64_t, 256> together{}, apart{};
};
inline constexpr sparse24_lanes sparse24_table = [] {
  sparse24_lanes table{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    unsigned place = 0;
    for (unsigned lane = 0; lane < 8; ++lane) {
      const bool set = (byte >> lane & 1u) != 0;
      if (set)
        table.together[byte] |= std::uint64_t{lane} << 8 * place;
      table.apart[byte] |= std::uint64_t{set ? place : 7u} << 8 * lane;
      place += set ? 1 : 0;
    }
  }
  return table;
}();

HWY_INLINE __m256i sparse24_order(const std::uint64_t& lanes) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&lanes)));
}
#endif

/// The kept half of the lanes, in order.
HWY_INLINE auto sparse24_together(vu32 v, mi32 kept, unsigned bits) {
  const hn::Half<du32> half;
#if VIVA_X86_256
  static_cast<void>(kept);
  const auto order = sparse24_order(sparse24_table.together[bits]);
  return hn::LowerHalf(half, vu32{_mm256_permutevar8x32_epi32(v.raw, order)});
#else
  static_cast<void>(bits);
  return hn::LowerHalf(half, hn::Compress(v, hn::RebindMask(du32(), kept)));
#endif
}

/// Half a vector moved apart to the lanes of the set bits, zero elsewhere.
HWY_INLINE vf32 sparse24_apart(hn::Vec<hn::Half<df32>> v, unsigned bits) {
#if VIVA_X86_256
  const auto order = sparse24_order(sparse24_table.apart[bits]);
  return vf32{_mm256_permutevar8x32_ps(hn::ZeroExtendVector(df32(), v).raw, order)};
#elif VIVA_X86_512
  const auto wide = hn::ZeroExtendVector(df32(), v);
  return vf32{_mm512_maskz_expand_ps(static_cast<__mmask16>(bits), wide.raw)};
#else
  HWY_ALIGN float packed[hn::MaxLanes(df32())];
  HWY_ALIGN float all[hn::MaxLanes(df32())];
  hn::StoreU(v, hn::Half<df32>(), packed);
  for (std::size_t lane = 0, next = 0; lane < lanes(); ++lane)
    all[lane] = (bits >> lane & 1u) != 0 ? packed[next++] : 0.0f;
  return hn::Load(df32(), all);
#endif
}

/// Bits [at, at + lanes()) of a bitmask; `at` is a multiple of lanes().
HWY_INLINE unsigned mask_bits_at(const std::byte* bitmask, std::size_t at) {
  if constexpr (hn::MaxLanes(df32()) == 16)
    return load_as<std::uint16_t>(bitmask + at / 8);
  const auto byte = static_cast<unsigned>(bitmask[at / 8]);
  return hn::MaxLanes(df32()) == 8 ? byte : byte >> at % 8 & 15u;
}

// -- what becomes of pruned values ----------------------------------------------------------------

/// A vector of values as they lie in the source, and which of them are kept.
struct sparse24_lanes_of {
  vu32 raw;
  mi32 kept;
};

/// Kept values move together, the bitmask says which they were.
template <class Source, class Stores>
struct sparse24_compress {
  Source from;
  std::byte* kept;
  std::byte* bitmask;
  vi32* smallest; ///< Lowered to the raw magnitudes of what is kept.

  HWY_INLINE void put(std::size_t i, sparse24_lanes_of a, sparse24_lanes_of b) const {
    const auto low = lane_bits(a.kept), high = lane_bits(b.kept);
    using bits_of_pair = std::conditional_t<
        hn::MaxLanes(df32()) == 16, std::uint32_t,
        std::conditional_t<hn::MaxLanes(df32()) == 8, std::uint16_t, std::uint8_t>>;
    store_as(static_cast<bits_of_pair>(low | high << lanes()), bitmask + i / 8);
    const auto both = hn::Combine(du32(), sparse24_together(b.raw, b.kept, high),
                                  sparse24_together(a.raw, a.kept, low));
    *smallest = hn::Min(*smallest, raw_magnitude(from, both));
    store_raw<Stores>(from, both, kept + i / 2 * from.bytes);
  }
  /// The first `count` values, whole groups, of a step that `write` puts into another of this kind.
  template <class Write>
  void put_part(std::size_t i, std::size_t count, const Write& write) const {
    std::byte part[sparse24_step / 2 * 4];
    std::byte bits[sparse24_step / 8];
    auto of_part = *smallest; // counts the zeros that fill the step, too, so it says nothing
    write(sparse24_compress<Source, cached_stores>{from, part, bits, &of_part});
    if (count % 8 != 0)
      bits[count / 8] &= std::byte{0x0F};
    copy_bytes(kept + i / 2 * from.bytes, part, count / 2 * from.bytes);
    copy_bytes(bitmask + i / 8, bits, sparse24::mask_bytes(count));
    for (std::size_t k = 0; k < count / 2; ++k)
      if (magnitude_bits(value_of(part, from.type, k)) == 0)
        *smallest = hn::Zero(di32());
  }
};

/// Kept values stay where they are, the others become +0.
template <class Source, class Stores>
struct sparse24_clear {
  Source from;
  std::byte* out;

  HWY_INLINE void put(std::size_t i, sparse24_lanes_of a, sparse24_lanes_of b) const {
    put_one(i, a);
    put_one(i + lanes(), b);
  }
  HWY_INLINE void put_one(std::size_t i, sparse24_lanes_of of) const {
    const auto kept = hn::IfThenElseZero(hn::RebindMask(du32(), of.kept), of.raw);
    store_raw<Stores>(from, kept, out + i * from.bytes);
  }
  template <class Write>
  void put_part(std::size_t i, std::size_t count, const Write& write) const {
    std::byte part[sparse24_step * 4];
    write(sparse24_clear<Source, cached_stores>{from, part});
    copy_bytes(out + i * from.bytes, part, count * from.bytes);
  }
};

// -- runs of values -------------------------------------------------------------------------------

/// Prunes `count` values of one row, whole groups; what becomes of them is the sink's affair.
/// Returns the largest raw magnitude, lane by lane.
template <class Source, class Score, class Sink>
HWY_INLINE vi32 sparse24_run(Source from, const std::byte* HWY_RESTRICT in, std::size_t count,
                             Score score, const Sink& sink) {
  auto largest = hn::Zero(di32());
  const auto choose = [&](const std::byte* at, std::size_t col) -> sparse24_lanes_of {
    const auto raw = load_raw(from, at);
    const auto magnitude = raw_magnitude(from, raw);
    largest = hn::Max(largest, magnitude);
    return {raw, sparse24_kept(score(from, at, col, magnitude))};
  };
  const auto put = [&](const std::byte* at, std::size_t col, const auto& to, std::size_t i) {
    const auto first = choose(at, col);
    to.put(i, first, choose(at + lanes() * from.bytes, col + lanes()));
  };
  const std::size_t whole = count / sparse24_step * sparse24_step;
  for (std::size_t i = 0; i < whole; i += 2 * lanes()) {
    prefetch_ahead(in + i * from.bytes, 2 * lanes() * from.bytes);
    put(in + i * from.bytes, i, sink, i);
  }
  if (whole == count)
    return largest;
  std::byte rest[sparse24_step * 4] = {};
  copy_bytes(rest, in + whole * from.bytes, (count - whole) * from.bytes);
  sink.put_part(whole, count - whole, [&](const auto& part) {
    for (std::size_t i = 0; i < sparse24_step; i += 2 * lanes())
      put(rest + i * from.bytes, whole + i, part, i);
  });
  return largest;
}

/// Square roots of `count` channels, then a step of zeros.
HWY_INLINE void sparse24_roots(const float* HWY_RESTRICT channels, std::size_t count,
                               float* HWY_RESTRICT roots) {
  const std::size_t whole = each_vector(count, [&](std::size_t i) {
    hn::StoreU(hn::Sqrt(hn::LoadU(df32(), channels + i)), df32(), roots + i);
  });
  for (std::size_t i = whole; i < count; ++i)
    roots[i] = std::sqrt(channels[i]);
  std::fill_n(roots + count, sparse24_step, 0.0f);
}

/// Prunes rows; `sink_at(row)` says what becomes of a row's values. `roots` is null where all
/// columns weigh the same. False, where a value is not finite.
template <class Source, class SinkAt>
HWY_INLINE bool sparse24_rows(Source from, const matrix& in, const float* roots,
                              const SinkAt& sink_at) {
  auto largest = hn::Zero(di32());
  // Without a partial byte at the end of rows, all of them are one run.
  const bool joined = roots == nullptr && in.cols % 8 == 0;
  const std::size_t rows = joined ? 1 : in.rows;
  const std::size_t cols = joined ? in.values() : in.cols;
  for (std::size_t r = 0; r < rows; ++r) {
    const auto* at = in.data + r * in.cols * from.bytes;
    largest = hn::Max(
        largest, roots == nullptr ? sparse24_run(from, at, cols, by_magnitude{}, sink_at(r))
                                  : sparse24_run(from, at, cols, by_importance{roots}, sink_at(r)));
  }
  return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), raw_infinity(from.type))));
}

/// One row back, as f32. Two bits of each four are set.
template <class Stores, class Source>
HWY_INLINE void sparse24_spread_row(Source from, const std::byte* HWY_RESTRICT kept,
                                    const std::byte* HWY_RESTRICT bitmask, std::size_t cols,
                                    float* HWY_RESTRICT out) {
  const hn::Half<df32> half;
  std::size_t i = 0;
  for (; i + 2 * lanes() <= cols; i += 2 * lanes()) {
    const auto v = load(from, kept + i / 2 * from.bytes);
    const auto lower = sparse24_apart(hn::LowerHalf(half, v), mask_bits_at(bitmask, i));
    const auto upper = sparse24_apart(hn::UpperHalf(half, v), mask_bits_at(bitmask, i + lanes()));
    Stores::put(lower, df32(), out + i);
    Stores::put(upper, df32(), out + i + lanes());
  }
  for (std::size_t next = i / 2; i < cols; ++i) {
    const bool is_kept = (static_cast<unsigned>(bitmask[i / 8]) >> i % 8 & 1u) != 0;
    out[i] = is_kept ? value_of(kept, from.type, next++) : 0.0f;
  }
}

/// Each nibble of `count` bytes by a table of 16.
HWY_INLINE void sparse24_map_nibbles(const std::uint8_t* HWY_RESTRICT table,
                                     std::byte* HWY_RESTRICT bytes, std::size_t count) {
  const hn::CappedTag<std::uint8_t, 16> d;
  const auto map = hn::LoadU(d, table);
  const auto nibble = hn::Set(d, std::uint8_t{15});
  auto* at = reinterpret_cast<std::uint8_t*>(bytes);
  std::size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const auto v = hn::LoadU(d, at + i);
    const auto low = hn::TableLookupBytes(map, hn::And(v, nibble));
    const auto high = hn::TableLookupBytes(map, hn::ShiftRight<4>(v));
    hn::StoreU(hn::Or(low, hn::ShiftLeft<4>(high)), d, at + i);
  }
  for (; i < count; ++i)
    at[i] = static_cast<std::uint8_t>(table[at[i] & 15] | table[at[i] >> 4] << 4);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
