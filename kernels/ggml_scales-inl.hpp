// The scales of GGUF's blocks, a batch at a time: pass S of ggml-inl.hpp.

#include "kernels/fold-inl.hpp"
#include "kernels/ggml_blocks.hpp"
#include "kernels/pack-inl.hpp"

#if defined(VIVA_KERNELS_GGML_SCALES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_GGML_SCALES_INL
#undef VIVA_KERNELS_GGML_SCALES_INL
#else
#define VIVA_KERNELS_GGML_SCALES_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

inline constexpr std::size_t ggml_batch = 32; ///< Blocks: 4 KiB of f32, whole lines of bytes.

/// The scales of a batch; `min` and `f16_min` only where the format has a minimum.
struct ggml_scales {
  HWY_ALIGN float d[ggml_batch] = {};
  HWY_ALIGN float inverse[ggml_batch] = {};
  HWY_ALIGN std::uint16_t f16[ggml_batch] = {};
  HWY_ALIGN float min[ggml_batch];
  HWY_ALIGN std::uint16_t f16_min[ggml_batch];
  /// With a minimum: that no value is more than f32 above it, and none more than the steps that d
  /// was made for; false where d lost bits as a subnormal or overflowed on its way.
  bool regular = false;

  /// ggml_inverse and ggml_f16 of every d.
  HWY_INLINE void finish(std::size_t blocks) {
    const df32 tag;
    const auto infinity = hn::Set(tag, float_of(infinity_bits));
    for (std::size_t b = 0; b < blocks; b += lanes()) {
      const auto v = hn::Load(tag, d + b);
      const auto reciprocal = hn::Div(hn::Set(tag, 1.0f), v);
      const auto usable = hn::Lt(hn::Abs(reciprocal), infinity); // false for 1 / 0 too
      hn::Store(hn::IfThenElseZero(usable, reciprocal), tag, inverse + b);
      store_f16(v, f16 + b);
    }
  }

  /// ggml_f16 of `lanes()` values.
  static HWY_INLINE void store_f16(vf32 v, std::uint16_t* out) {
    const auto largest = hn::Set(df32(), 65504.0f);
    store_u16(f16_bits(hn::Max(hn::Min(v, largest), hn::Neg(largest))),
              reinterpret_cast<std::byte*>(out));
  }
};

// -- scales -------------------------------------------------------------------------------------

/// d = extreme * factor, a power of two. False where a value is not finite.
template <class Source>
HWY_INLINE bool ggml_extreme_scales(Source from, const std::byte* HWY_RESTRICT in,
                                    std::size_t blocks, float factor, ggml_scales& out) {
  const df32 d;
  const bool finite = fold_extremes<ggml_batch>(from, in, ggml_block_values, blocks, out.d);
  for (std::size_t b = 0; b < blocks; b += lanes())
    hn::Store(hn::Mul(hn::Load(d, out.d + b), hn::Set(d, factor)), d, out.d + b);
  out.finish(blocks);
  return finite;
}

template <class Source>
HWY_NOINLINE void ggml_settle_zeros(Source from, const std::byte* in, std::size_t first,
                                    std::size_t last, float* min) {
  const matrix values{in, from.type, last, ggml_block_values};
  for (std::size_t b = first; b < last; ++b)
    min[b] = ggml_range_of(values, b * ggml_block_values).min;
}

/// The smallest value negated and the largest of each block; a zero may have either sign. False
/// where a value is not finite.
template <class Source>
HWY_INLINE bool ggml_fold_ranges(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                 float* HWY_RESTRICT lowest, float* HWY_RESTRICT highest) {
  struct state {
    vf32 lowest, highest;
  };
  const df32 d;
  const auto infinity = hn::Set(d, float_of(infinity_bits));
  auto magnitude = hn::Zero(di32()); // of all blocks: it only tells whether they are finite
  fold_fours(
      from, in, ggml_block_values, blocks, state{infinity, hn::Neg(infinity)},
      [&](state& so_far, vf32 x) {
        x = loaded_once(x);
        so_far.lowest = hn::Min(so_far.lowest, x);
        so_far.highest = hn::Max(so_far.highest, x);
        magnitude = magnitude_fold::take(magnitude, x);
      },
      [&](std::size_t b, const state& s0, const state& s1, const state& s2, const state& s3) {
        store_fold4(d, hn::Neg(s0.lowest), hn::Neg(s1.lowest), hn::Neg(s2.lowest),
                    hn::Neg(s3.lowest), lowest + b);
        store_fold4(d, s0.highest, s1.highest, s2.highest, s3.highest, highest + b);
      });
  return hn::AllTrue(di32(), hn::Lt(magnitude, hn::Set(di32(), infinity_bits)));
}

/// d = (max - min) / steps, and the minimum. The sign of a minimum that is zero is that of the
/// first zero, which is looked up. False where a value is not finite.
template <class Source>
HWY_INLINE bool ggml_range_scales(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                  float steps, ggml_scales& out) {
  const df32 d;
  HWY_ALIGN float lowest[ggml_batch] = {};
  HWY_ALIGN float highest[ggml_batch] = {};
  if (!ggml_fold_ranges(from, in, blocks, lowest, highest))
    return false;
  auto regular = hn::Eq(hn::Zero(d), hn::Zero(d));
  for (std::size_t b = 0; b < blocks; b += lanes()) {
    const auto min = hn::Neg(hn::Load(d, lowest + b));
    hn::Store(min, d, out.min + b);
    if (HWY_UNLIKELY(!hn::AllFalse(d, hn::Eq(min, hn::Zero(d)))))
      ggml_settle_zeros(from, in, b, std::min(blocks, b + lanes()), out.min);
    const auto span = hn::Abs(hn::Sub(hn::Load(d, highest + b), min)); // no zero is negative
    const auto step = hn::Div(span, hn::Set(d, steps));
    hn::Store(step, d, out.d + b);
    const auto normal = hn::And(hn::Ge(step, hn::Set(d, std::numeric_limits<float>::min())),
                                hn::Lt(span, hn::Set(d, float_of(infinity_bits))));
    regular = hn::And(regular, hn::Or(normal, hn::Eq(step, hn::Zero(d))));
    out.store_f16(hn::Load(d, out.min + b), out.f16_min + b);
  }
  out.regular = hn::AllTrue(d, regular);
  out.finish(blocks);
  return true;
}

/// The code of `x` in a block with a minimum, at most `most`: as ggml_above has it, then rounded by
/// + 0.5. Both limits are idle where scales are regular.
template <bool Regular>
HWY_INLINE vi32 ggml_code_above(const ggml_scales& scales, vf32 x, std::size_t b, float most) {
  const df32 d;
  const auto above = hn::Sub(x, hn::Set(d, scales.min[b]));
  const auto inverse = hn::Set(d, scales.inverse[b]);
  const auto half = hn::Set(d, 0.5f);
  if constexpr (Regular)
    return truncated_i32(hn::Add(hn::Mul(above, inverse), half)); // rounds twice
  const auto largest = hn::Set(d, std::numeric_limits<float>::max());
  const auto t = hn::Add(hn::Mul(hn::Min(above, largest), inverse), half);
  return truncated_i32(hn::Min(t, hn::Set(d, most + 0.5f)));
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
