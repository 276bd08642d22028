// Extremes of blocks, as integers: the bits of f32 magnitudes order as the magnitudes do, with NaN
// above infinity above every number, so a maximum also tells whether all were finite.

#include "kernels/simd-inl.hpp"

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

/// The largest value. With a NaN among the values it may be anything; a zero may have either sign.
struct highest_fold {
  using tag = df32;
  static HWY_INLINE vf32 first() {
    return hn::Set(df32(), -float_of(infinity_bits));
  }
  static HWY_INLINE vf32 take(vf32 so_far, vf32 x) {
    return hn::Max(so_far, x);
  }
};

/// The smallest value, negated. What holds for the largest holds for it.
struct lowest_fold {
  using tag = df32;
  static HWY_INLINE vf32 first() {
    return highest_fold::first();
  }
  static HWY_INLINE vf32 take(vf32 so_far, vf32 x) {
    return hn::Max(so_far, hn::Neg(x));
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

/// The maximum of `count` values, a multiple of `lanes()`: for one long block or row.
template <class Fold, class Source>
HWY_INLINE hn::TFromD<typename Fold::tag> fold_values(Source from, const std::byte* HWY_RESTRICT in,
                                                      std::size_t count) {
  const typename Fold::tag d;
  auto m0 = Fold::first(), m1 = m0, m2 = m0, m3 = m0;
  std::size_t i = 0;
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

/// The maxima of `blocks` blocks of `block` values, a multiple of `lanes()`. `blocks` is below four
/// or a multiple of four.
template <class Fold, class Source>
HWY_INLINE void fold_blocks(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                            std::size_t blocks, hn::TFromD<typename Fold::tag>* HWY_RESTRICT out) {
  const typename Fold::tag d;
  const std::size_t stride = block * from.bytes;
  if (blocks < 4) {
    for (std::size_t b = 0; b < blocks; ++b)
      out[b] = fold_values<Fold>(from, in + b * stride, block);
    return;
  }
  for (std::size_t b = 0; b < blocks; b += 4, in += 4 * stride) {
    auto m0 = Fold::first(), m1 = m0, m2 = m0, m3 = m0;
    for (std::size_t i = 0; i < stride; i += lanes() * from.bytes) {
      m0 = Fold::take(m0, load(from, in + i));
      m1 = Fold::take(m1, load(from, in + i + stride));
      m2 = Fold::take(m2, load(from, in + i + 2 * stride));
      m3 = Fold::take(m3, load(from, in + i + 3 * stride));
    }
    store_fold4(d, m0, m1, m2, m3, out + b);
  }
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
