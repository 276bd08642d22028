// Extremes of blocks, as integers: the bits of f32 magnitudes order as the magnitudes do, with NaN
// above infinity above every number, so a maximum also tells whether all were finite.

#include "kernels/simd-inl.hpp"

#include <type_traits>

#if defined(VIVA_KERNELS_FOLD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_FOLD_INL
#undef VIVA_KERNELS_FOLD_INL
#else
#define VIVA_KERNELS_FOLD_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Maximum of the bits without sign.
struct magnitude_fold {
  using tag = di32;
  static HWY_INLINE vi32 first() {
    return hn::Zero(di32());
  }
  static HWY_INLINE vi32 take(vi32 so_far, vf32 x) {
    return hn::Max(so_far, hn::BitCast(di32(), hn::Abs(x)));
  }
};

/// Signed maximum of the bits: the largest positive value; one with the sign bit, where there is no
/// value without it.
struct positive_fold {
  using tag = di32;
  static HWY_INLINE vi32 first() {
    return hn::Set(di32(), hwy::LimitsMin<std::int32_t>());
  }
  static HWY_INLINE vi32 take(vi32 so_far, vf32 x) {
    return hn::Max(so_far, hn::BitCast(di32(), x));
  }
};

/// Unsigned maximum of the bits: the most negative value; one without the sign bit, where there is
/// no value with it.
struct negative_fold {
  using tag = du32;
  static HWY_INLINE vu32 first() {
    return hn::Zero(du32());
  }
  static HWY_INLINE vu32 take(vu32 so_far, vf32 x) {
    return hn::Max(so_far, hn::BitCast(du32(), x));
  }
};

/// Maximum over 128-bit parts.
template <class D, class V>
HWY_INLINE auto fold_parts(D, V v) {
  if constexpr (hn::MaxLanes(D{}) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return fold_parts(half, hn::Max(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// Stores the maxima of four vectors, in order, at out[0 … 3]: a transposing tree, 13 instructions.
template <class D, class V>
HWY_INLINE void store_fold4(D d, V a, V b, V c, V e, hn::TFromD<D>* HWY_RESTRICT out) {
  const hn::RepartitionToWide<D> wide;
  const auto join = [&](V x, V y) {
    return hn::BitCast(wide, hn::Max(hn::InterleaveLower(d, x, y), hn::InterleaveUpper(d, x, y)));
  };
  const auto ab = join(a, b); // a b a b in each 128-bit part
  const auto ce = join(c, e);
  const auto lower = hn::BitCast(d, hn::InterleaveLower(wide, ab, ce));
  const auto upper = hn::BitCast(d, hn::InterleaveUpper(wide, ab, ce));
  const auto all = fold_parts(d, hn::Max(lower, upper));
  hn::StoreU(all, hn::CappedTag<hn::TFromD<D>, 4>(), out);
}

/// Keeps the compiler from loading `x` again for its second use: where a line is still on its way,
/// two loads wait for it twice.
HWY_INLINE vf32 loaded_once(vf32 x) {
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL
  asm("" : "+v"(x.raw));
#elif HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
  asm("" : "+x"(x.raw));
#endif
  return x;
}

// Magnitudes of 16-bit sources order as their bits do, too: two values to a lane of 32 bits.

using du16_pairs = hn::Repartition<std::uint16_t, df32>;
using vu16_pairs = hn::Vec<du16_pairs>;

/// Values of two vectors of f32.
inline constexpr std::size_t pair_lanes = 2 * hn::MaxLanes(df32());

HWY_INLINE vu16_pairs take_pairs(vu16_pairs so_far, const std::byte* HWY_RESTRICT at) {
  const du16_pairs d;
  const auto bits = hn::LoadU(d, reinterpret_cast<const std::uint16_t*>(at));
  return hn::Max(so_far, hn::And(bits, hn::Set(d, std::uint16_t{0x7FFF})));
}

/// The larger of each pair, as f32's bits.
template <dtype Type>
HWY_INLINE vi32 larger_of_pairs(source<Type>, vu16_pairs pairs) {
  const auto both = hn::BitCast(du32(), pairs);
  const auto first = hn::BitCast(di32(), hn::ShiftLeft<16>(both));
  const auto second = hn::BitCast(di32(), hn::And(both, hn::Set(du32(), 0xFFFF0000u)));
  const auto larger = hn::Max(first, second);
  if constexpr (Type == dtype::bf16)
    return larger;
  else
    return hn::BitCast(di32(), f32_from_f16_bits(hn::BitCast(du32(), hn::ShiftRight<16>(larger))));
}

template <class Fold, class Source>
inline constexpr bool folds_pairs =
    std::is_same_v<Fold, magnitude_fold> && Source::type != dtype::f32;

/// The maximum of `count` values, a multiple of `lanes()`: for one long block or row.
template <class Fold, class Source>
HWY_INLINE hn::TFromD<typename Fold::tag> fold_values(Source from, const std::byte* HWY_RESTRICT in,
                                                      std::size_t count) {
  const typename Fold::tag d;
  auto m0 = Fold::first(), m1 = m0, m2 = m0, m3 = m0;
  std::size_t i = 0;
  if constexpr (folds_pairs<Fold, Source>) {
    auto p0 = hn::Zero(du16_pairs()), p1 = p0, p2 = p0, p3 = p0;
    for (; i + 4 * pair_lanes <= count; i += 4 * pair_lanes) {
      p0 = take_pairs(p0, in + 2 * i);
      p1 = take_pairs(p1, in + 2 * (i + pair_lanes));
      p2 = take_pairs(p2, in + 2 * (i + 2 * pair_lanes));
      p3 = take_pairs(p3, in + 2 * (i + 3 * pair_lanes));
    }
    m0 = larger_of_pairs(from, hn::Max(hn::Max(p0, p1), hn::Max(p2, p3)));
  }
  const auto at = [&](std::size_t k) { return load(from, in + (i + k * lanes()) * from.bytes); };
  for (; i + 4 * lanes() <= count; i += 4 * lanes()) {
    m0 = Fold::take(m0, at(0));
    m1 = Fold::take(m1, at(1));
    m2 = Fold::take(m2, at(2));
    m3 = Fold::take(m3, at(3));
  }
  for (; i < count; i += lanes())
    m0 = Fold::take(m0, at(0));
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(hn::Max(m0, m1), hn::Max(m2, m3))));
}

/// The maximum of any number of values and zero.
template <class Fold, class Source>
HWY_INLINE hn::TFromD<typename Fold::tag> fold_all(Source from, const std::byte* HWY_RESTRICT in,
                                                   std::size_t count) {
  const std::size_t whole = count / lanes() * lanes();
  HWY_ALIGN std::byte rest[hn::MaxLanes(df32()) * 4] = {};
  copy_bytes(rest, in + whole * from.bytes, (count - whole) * from.bytes);
  return std::max(fold_values<Fold>(from, in, whole), fold_values<Fold>(from, rest, lanes()));
}

/// Folds `blocks` blocks of `block` values, multiples of four and of `lanes()`, four at a time:
/// take(state, x) for every vector of a block, store(b, states) with those of blocks b … b + 3.
template <class State, class Source, class Take, class Store>
HWY_INLINE void fold_fours(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                           std::size_t blocks, const State& first, const Take& take,
                           const Store& store) {
  const std::size_t stride = block * from.bytes;
  for (std::size_t b = 0; b < blocks; b += 4, in += 4 * stride) {
    State s0 = first, s1 = first, s2 = first, s3 = first;
    VIVA_UNROLL(4)
    for (std::size_t i = 0; i < stride; i += lanes() * from.bytes) {
      take(s0, load(from, in + i));
      take(s1, load(from, in + i + stride));
      take(s2, load(from, in + i + 2 * stride));
      take(s3, load(from, in + i + 3 * stride));
    }
    store(b, s0, s1, s2, s3);
  }
}

/// The magnitudes of blocks of bf16 or f16, multiples of `pair_lanes` values, four at a time.
template <class Source>
HWY_INLINE void fold_pairs(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                           std::size_t blocks, std::int32_t* HWY_RESTRICT out) {
  const std::size_t stride = 2 * block;
  for (std::size_t b = 0; b < blocks; b += 4, in += 4 * stride) {
    auto p0 = hn::Zero(du16_pairs()), p1 = p0, p2 = p0, p3 = p0;
    VIVA_UNROLL(4)
    for (std::size_t i = 0; i < stride; i += 2 * pair_lanes) {
      p0 = take_pairs(p0, in + i);
      p1 = take_pairs(p1, in + i + stride);
      p2 = take_pairs(p2, in + i + 2 * stride);
      p3 = take_pairs(p3, in + i + 3 * stride);
    }
    store_fold4(di32(), larger_of_pairs(from, p0), larger_of_pairs(from, p1),
                larger_of_pairs(from, p2), larger_of_pairs(from, p3), out + b);
  }
}

/// The maxima of `blocks` blocks of `block` values, a multiple of `lanes()`. `blocks` is below four
/// or a multiple of four.
template <class Fold, class Source>
HWY_INLINE void fold_blocks(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                            std::size_t blocks, hn::TFromD<typename Fold::tag>* HWY_RESTRICT out) {
  const typename Fold::tag d;
  if (blocks < 4) {
    for (std::size_t b = 0; b < blocks; ++b)
      out[b] = fold_values<Fold>(from, in + b * block * from.bytes, block);
    return;
  }
  if constexpr (folds_pairs<Fold, Source>)
    if (block % pair_lanes == 0)
      return fold_pairs(from, in, block, blocks, out);
  using state = hn::Vec<typename Fold::tag>;
  fold_fours(
      from, in, block, blocks, Fold::first(),
      [](state& so_far, vf32 x) { so_far = Fold::take(so_far, x); },
      [&](std::size_t b, state s0, state s1, state s2, state s3) {
        store_fold4(d, s0, s1, s2, s3, out + b);
      });
}

/// The extremes of both signs of each block, as positive_fold and negative_fold have them, in one
/// pass. `blocks` as `fold_blocks` takes them.
template <class Source>
HWY_INLINE void fold_both_signs(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                                std::size_t blocks, std::int32_t* HWY_RESTRICT positive,
                                std::uint32_t* HWY_RESTRICT negative) {
  if (blocks < 4) {
    fold_blocks<positive_fold>(from, in, block, blocks, positive);
    fold_blocks<negative_fold>(from, in, block, blocks, negative);
    return;
  }
  struct state {
    vi32 positive;
    vu32 negative;
  };
  fold_fours(
      from, in, block, blocks, state{positive_fold::first(), negative_fold::first()},
      [](state& so_far, vf32 x) {
        x = loaded_once(x);
        so_far.positive = positive_fold::take(so_far.positive, x);
        so_far.negative = negative_fold::take(so_far.negative, x);
      },
      [&](std::size_t b, const state& s0, const state& s1, const state& s2, const state& s3) {
        store_fold4(di32(), s0.positive, s1.positive, s2.positive, s3.positive, positive + b);
        store_fold4(du32(), s0.negative, s1.negative, s2.negative, s3.negative, negative + b);
      });
}

/// The first value of largest magnitude of blocks whose extremes of both signs tie.
template <class Source>
HWY_NOINLINE void settle_extremes(Source from, const std::byte* in, std::size_t block,
                                  std::size_t first, std::size_t last, float* out) {
  for (std::size_t b = first; b < last; ++b)
    out[b] = extreme_of({in, from.type, last, block}, b * block, block);
}

/// The value of largest magnitude of each block, the first of equals: `blocks` as `fold_blocks`
/// takes them, at most `Most`, a multiple of 16. The extremes of both signs come from integer
/// maxima; where they tie, which of them stands first is looked up. False, where a value is not
/// finite.
template <std::size_t Most, class Source>
HWY_INLINE bool fold_extremes(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                              std::size_t blocks, float* HWY_RESTRICT out) {
  const di32 di;
  HWY_ALIGN std::int32_t positive[Most] = {};
  HWY_ALIGN std::uint32_t negative[Most] = {};
  fold_both_signs(from, in, block, blocks, positive, negative);
  auto largest = hn::Zero(di);
  for (std::size_t b = 0; b < blocks; b += lanes()) {
    const auto signed_bits = hn::BitCast(di, hn::Load(du32(), negative + b));
    const auto above = hn::Max(hn::Load(di, positive + b), hn::Zero(di));
    const auto below = hn::IfThenElseZero(hn::Lt(signed_bits, hn::Zero(di)),
                                          hn::And(signed_bits, hn::Set(di, 0x7FFFFFFF)));
    const auto extreme = hn::IfThenElse(hn::Gt(below, above), signed_bits, above);
    largest = hn::Max(largest, hn::Max(above, below));
    hn::Store(hn::BitCast(df32(), extreme), df32(), out + b);
    const auto tie = hn::And(hn::Eq(above, below), hn::Gt(above, hn::Zero(di)));
    if (HWY_UNLIKELY(!hn::AllFalse(di, tie)))
      settle_extremes(from, in, block, b, std::min(blocks, b + lanes()), out);
  }
  return hn::AllTrue(di, hn::Lt(largest, hn::Set(di, infinity_bits)));
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
