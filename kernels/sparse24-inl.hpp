// 2:4 pruning in vectors: which lanes are kept, kept lanes moved together, and back.

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

/// Values of one step: whole vectors and whole bytes of the bitmask on every target.
inline constexpr std::size_t sparse24_step = 16;

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

/// Stores the lanes of `v`, a vector of tag D, at their source's width.
template <class D, class Source>
HWY_INLINE void store_raw(D d, Source from, hn::Vec<D> v, std::byte* at) {
  if constexpr (from.bytes == 4) {
    hn::StoreU(v, d, reinterpret_cast<std::uint32_t*>(at));
  } else {
    const hn::Rebind<std::uint16_t, D> narrow;
    const auto lanes = hn::BitCast(hn::RebindToSigned<D>(), v);
    hn::StoreU(hn::DemoteTo(narrow, lanes), narrow, reinterpret_cast<std::uint16_t*>(at));
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

HWY_INLINE void put_mask_bits(std::byte* bitmask, std::size_t at, unsigned bits) {
  if constexpr (hn::MaxLanes(df32()) == 16)
    store_as(static_cast<std::uint16_t>(bits), bitmask + at / 8);
  else if (at % 8 == 0)
    bitmask[at / 8] = static_cast<std::byte>(bits);
  else
    bitmask[at / 8] |= static_cast<std::byte>(bits << 4);
}

// -- what becomes of pruned values ----------------------------------------------------------------

/// Kept values move together, the bitmask says which they were.
template <class Source>
struct sparse24_compress {
  Source from;
  std::byte* kept;
  std::byte* bitmask;

  HWY_INLINE void put(std::size_t i, vu32 raw, mi32 mask) const {
    const auto bits = lane_bits(mask);
    put_mask_bits(bitmask, i, bits);
    store_raw(hn::Half<du32>(), from, sparse24_together(raw, mask, bits),
              kept + i / 2 * from.bytes);
  }
  /// The first `count` values, whole groups, of a step that `write` puts into another of this kind.
  template <class Write>
  void put_part(std::size_t i, std::size_t count, const Write& write) const {
    std::byte part[sparse24_step / 2 * 4];
    std::byte bits[sparse24_step / 8];
    write(sparse24_compress{from, part, bits});
    if (count % 8 != 0)
      bits[count / 8] &= std::byte{0x0F};
    copy_bytes(kept + i / 2 * from.bytes, part, count / 2 * from.bytes);
    copy_bytes(bitmask + i / 8, bits, sparse24::mask_bytes(count));
  }
};

/// Kept values stay where they are, the others become +0.
template <class Source>
struct sparse24_clear {
  Source from;
  std::byte* out;

  HWY_INLINE void put(std::size_t i, vu32 raw, mi32 mask) const {
    const auto kept = hn::IfThenElseZero(hn::RebindMask(du32(), mask), raw);
    store_raw(du32(), from, kept, out + i * from.bytes);
  }
  template <class Write>
  void put_part(std::size_t i, std::size_t count, const Write& write) const {
    std::byte part[sparse24_step * 4];
    write(sparse24_clear{from, part});
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
  const auto put = [&](const std::byte* at, std::size_t col, const Sink& to, std::size_t i) {
    const auto raw = load_raw(from, at);
    const auto magnitude = raw_magnitude(from, raw);
    largest = hn::Max(largest, magnitude);
    to.put(i, raw, sparse24_kept(score(from, at, col, magnitude)));
  };
  const std::size_t whole = count / sparse24_step * sparse24_step;
  for (std::size_t i = 0; i < whole; i += lanes())
    put(in + i * from.bytes, i, sink, i);
  if (whole == count)
    return largest;
  std::byte rest[sparse24_step * 4] = {};
  copy_bytes(rest, in + whole * from.bytes, (count - whole) * from.bytes);
  sink.put_part(whole, count - whole, [&](const Sink& part) {
    for (std::size_t i = 0; i < sparse24_step; i += lanes())
      put(rest + i * from.bytes, whole + i, part, i);
  });
  return largest;
}

/// Prunes rows; `sink_at(row, column)` says what becomes of values from there on. False, where a
/// value is not finite.
template <class Source, class SinkAt>
HWY_INLINE bool sparse24_rows(Source from, const matrix& in, std::span<const float> channels,
                              const SinkAt& sink_at) {
  auto largest = hn::Zero(di32());
  if (channels.empty()) {
    // Without a partial byte at the end of rows, all of them are one run.
    const bool joined = in.cols % 8 == 0;
    const std::size_t rows = joined ? 1 : in.rows;
    const std::size_t cols = joined ? in.values() : in.cols;
    for (std::size_t r = 0; r < rows; ++r)
      largest = hn::Max(
          largest, sparse24_run(from, in.slice(r, 1).data, cols, by_magnitude{}, sink_at(r, 0)));
  } else {
    constexpr std::size_t part = 1024; // columns whose roots are taken once for all rows
    HWY_ALIGN float roots[part];
    for (std::size_t c = 0; c < in.cols; c += part) {
      const std::size_t count = std::min(part, in.cols - c);
      std::fill_n(roots, part, 0.0f);
      for (std::size_t i = 0; i < count; ++i)
        roots[i] = std::sqrt(channels[c + i]);
      for (std::size_t r = 0; r < in.rows; ++r)
        largest = hn::Max(largest, sparse24_run(from, in.slice(r, 1).data + c * from.bytes, count,
                                                by_importance{roots}, sink_at(r, c)));
    }
  }
  return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), raw_infinity(from.type))));
}

/// One row back, as f32. Two bits of each four are set.
template <class Source>
HWY_INLINE void sparse24_spread_row(Source from, const std::byte* HWY_RESTRICT kept,
                                    const std::byte* HWY_RESTRICT bitmask, std::size_t cols,
                                    float* HWY_RESTRICT out) {
  const hn::Half<df32> half;
  std::size_t i = 0;
  for (; i + 2 * lanes() <= cols; i += 2 * lanes()) {
    const auto v = load(from, kept + i / 2 * from.bytes);
    const auto lower = sparse24_apart(hn::LowerHalf(half, v), mask_bits_at(bitmask, i));
    const auto upper = sparse24_apart(hn::UpperHalf(half, v), mask_bits_at(bitmask, i + lanes()));
    hn::StoreU(lower, df32(), out + i);
    hn::StoreU(upper, df32(), out + i + lanes());
  }
  for (std::size_t next = i / 2; i < cols; ++i) {
    const bool is_kept = (static_cast<unsigned>(bitmask[i / 8]) >> i % 8 & 1u) != 0;
    out[i] = is_kept ? value_of(kept, from.type, next++) : 0.0f;
  }
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
