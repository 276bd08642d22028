// The searches of ggml_weighed.hpp, a block in each lane.

#include "kernels/ggml_weighed.hpp"
#include "kernels/simd-inl.hpp"

#if defined(VIVA_KERNELS_GGML_WEIGHED_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_GGML_WEIGHED_INL
#undef VIVA_KERNELS_GGML_WEIGHED_INL
#else
#define VIVA_KERNELS_GGML_WEIGHED_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// A block in each lane: value j of all of them is a vector. `w` are the weights.
struct weighed_blocks {
  HWY_ALIGN float x[ggml_weighed::values][hn::MaxLanes(df32())];
  HWY_ALIGN float w[ggml_weighed::values][hn::MaxLanes(df32())];
  HWY_ALIGN float codes[ggml_weighed::values][hn::MaxLanes(df32())];
  HWY_ALIGN float d[hn::MaxLanes(df32())];
  HWY_ALIGN float min[hn::MaxLanes(df32())];
};

/// rint(v) within [low, high].
HWY_INLINE vf32 weighed_level(vf32 v, vf32 low, vf32 high) {
  const auto magic = hn::Set(df32(), 0x1.8p23f); // added and taken away, it rounds to integers
  return hn::Min(hn::Max(hn::Sub(hn::Add(v, magic), magic), low), high);
}

/// Σ w x l and Σ w l l of the levels by `inverse`.
HWY_INLINE void weighed_sums(const weighed_blocks& in, vf32 inverse, vf32 low, vf32 high,
                             vf32& product, vf32& square) {
  const df32 d;
  product = square = hn::Zero(d);
  for (std::size_t j = 0; j < ggml_weighed::values; ++j) {
    const auto x = hn::Load(d, in.x[j]);
    const auto w = hn::Load(d, in.w[j]);
    const auto l = weighed_level(hn::Mul(inverse, x), low, high);
    product = hn::Add(product, hn::Mul(hn::Mul(w, x), l));
    square = hn::Add(square, hn::Mul(hn::Mul(w, l), l));
  }
}

HWY_INLINE void weighed_without_min(const ggml_weighed::format& as, weighed_blocks& in) {
  const df32 d;
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  const auto n = hn::Set(d, static_cast<float>(as.steps));
  const auto low = hn::Neg(n), high = hn::Sub(n, one);
  auto amax = zero, extreme = zero;
  for (std::size_t j = 0; j < ggml_weighed::values; ++j) {
    const auto x = hn::Load(d, in.x[j]);
    const auto larger = hn::Gt(hn::Abs(x), amax);
    amax = hn::IfThenElse(larger, hn::Abs(x), amax);
    extreme = hn::IfThenElse(larger, x, extreme);
  }
  const auto empty = hn::Lt(amax, hn::Set(d, 1e-15f));
  extreme = hn::IfThenElse(empty, one, extreme);
  auto best_inverse = hn::Div(low, extreme);
  vf32 product, square;
  weighed_sums(in, best_inverse, low, high, product, square);
  auto scale = hn::IfThenElse(hn::Eq(square, zero), zero, hn::Div(product, square));
  auto best = hn::Mul(scale, product);
  for (int i = -ggml_weighed::refits; i <= ggml_weighed::refits; ++i) {
    if (i == 0)
      continue;
    const auto inverse =
        hn::Div(hn::Set(d, ggml_weighed::numerator_of(as.steps, i)), extreme);
    weighed_sums(in, inverse, low, high, product, square);
    const auto better = hn::And(hn::Gt(square, zero),
                                hn::Gt(hn::Mul(product, product), hn::Mul(best, square)));
    const auto tried = hn::Div(product, square);
    best_inverse = hn::IfThenElse(better, inverse, best_inverse);
    scale = hn::IfThenElse(better, tried, scale);
    best = hn::IfThenElse(better, hn::Mul(tried, product), best);
  }
  for (std::size_t j = 0; j < ggml_weighed::values; ++j) {
    const auto l = weighed_level(hn::Mul(best_inverse, hn::Load(d, in.x[j])), low, high);
    hn::Store(hn::IfThenElse(empty, zero, hn::Add(l, n)), d, in.codes[j]);
  }
  hn::Store(hn::IfThenElse(empty, zero, scale), d, in.d);
  hn::Store(zero, d, in.min);
}

/// Codes by `inverse` above `min`, and the error at (scale, offset) of codes in `codes`.
HWY_INLINE vf32 weighed_error(const weighed_blocks& in, const float (*codes)[hn::MaxLanes(df32())],
                              vf32 scale, vf32 offset) {
  const df32 d;
  auto error = hn::Zero(d);
  for (std::size_t j = 0; j < ggml_weighed::values; ++j) {
    const auto off = hn::Sub(hn::Add(hn::Mul(scale, hn::Load(d, codes[j])), offset),
                             hn::Load(d, in.x[j]));
    error = hn::Add(error, hn::Mul(hn::Load(d, in.w[j]), hn::Mul(off, off)));
  }
  return error;
}

/// The sums of a block that no code enters, and its range widened to 0.
struct weighed_range {
  vf32 min, max, sum_w, sum_x;

  explicit HWY_INLINE weighed_range(const weighed_blocks& in) {
    const df32 d;
    min = max = hn::Load(d, in.x[0]);
    sum_w = hn::Load(d, in.w[0]);
    sum_x = hn::Mul(sum_w, min);
    for (std::size_t j = 1; j < ggml_weighed::values; ++j) {
      const auto x = hn::Load(d, in.x[j]);
      const auto w = hn::Load(d, in.w[j]);
      min = hn::IfThenElse(hn::Lt(x, min), x, min);
      max = hn::IfThenElse(hn::Gt(x, max), x, max);
      sum_w = hn::Add(sum_w, w);
      sum_x = hn::Add(sum_x, hn::Mul(w, x));
    }
    min = hn::IfThenElse(hn::Gt(min, hn::Zero(d)), hn::Zero(d), min);
  }
};

/// One refit: scale and offset by least squares over the codes it leaves in `tried`; true in lanes
/// where there are any.
HWY_INLINE auto weighed_refit(const weighed_blocks& in, const weighed_range& range, vf32 inverse,
                              vf32 min, vf32 high, float (*tried)[hn::MaxLanes(df32())],
                              vf32& scale, vf32& offset) {
  const df32 d;
  const auto zero = hn::Zero(d);
  auto sum_l = zero, sum_l2 = zero, sum_xl = zero;
  for (std::size_t j = 0; j < ggml_weighed::values; ++j) {
    const auto x = hn::Load(d, in.x[j]);
    const auto l = weighed_level(hn::Mul(inverse, hn::Sub(x, min)), zero, high);
    hn::Store(l, d, tried[j]);
    const auto wl = hn::Mul(hn::Load(d, in.w[j]), l);
    sum_l = hn::Add(sum_l, wl);
    sum_l2 = hn::Add(sum_l2, hn::Mul(wl, l));
    sum_xl = hn::Add(sum_xl, hn::Mul(wl, x));
  }
  const auto determinant = hn::Sub(hn::Mul(range.sum_w, sum_l2), hn::Mul(sum_l, sum_l));
  scale = hn::Div(hn::Sub(hn::Mul(range.sum_w, sum_xl), hn::Mul(range.sum_x, sum_l)), determinant);
  offset = hn::Div(hn::Sub(hn::Mul(sum_l2, range.sum_x), hn::Mul(sum_l, sum_xl)), determinant);
  const auto above = hn::Gt(offset, zero);
  scale = hn::IfThenElse(above, hn::Div(sum_xl, sum_l2), scale);
  offset = hn::IfThenElse(above, zero, offset);
  return hn::Gt(determinant, zero);
}

HWY_INLINE void weighed_with_min(const ggml_weighed::format& as, weighed_blocks& in) {
  const df32 d;
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  const auto high = hn::Set(d, static_cast<float>(as.steps));
  const weighed_range range(in);
  const auto empty = hn::Le(range.max, range.min);
  const auto max = hn::IfThenElse(empty, hn::Add(range.min, one), range.max);
  auto min = range.min;
  const auto first = hn::Div(high, hn::Sub(max, min));
  auto scale = hn::Div(one, first);
  for (std::size_t j = 0; j < ggml_weighed::values; ++j)
    hn::Store(weighed_level(hn::Mul(first, hn::Sub(hn::Load(d, in.x[j]), min)), zero, high), d,
              in.codes[j]);
  auto best = weighed_error(in, in.codes, scale, min);
  HWY_ALIGN float tried[ggml_weighed::values][hn::MaxLanes(df32())];
  for (int i = 0; i < ggml_weighed::range_refits; ++i) {
    const auto inverse =
        hn::Div(hn::Set(d, ggml_weighed::range_numerator_of(as.steps, i)), hn::Sub(max, min));
    vf32 at, offset;
    const auto solved = weighed_refit(in, range, inverse, min, high, tried, at, offset);
    const auto error = weighed_error(in, tried, at, offset);
    const auto better = hn::And(solved, hn::Lt(error, best));
    for (std::size_t j = 0; j < ggml_weighed::values; ++j)
      hn::Store(hn::IfThenElse(better, hn::Load(d, tried[j]), hn::Load(d, in.codes[j])), d,
                in.codes[j]);
    best = hn::IfThenElse(better, error, best);
    scale = hn::IfThenElse(better, at, scale);
    min = hn::IfThenElse(better, offset, min);
  }
  for (std::size_t j = 0; j < ggml_weighed::values; ++j)
    hn::Store(hn::IfThenElse(empty, zero, hn::Load(d, in.codes[j])), d, in.codes[j]);
  hn::Store(hn::IfThenElse(empty, zero, scale), d, in.d);
  hn::Store(min, d, in.min);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
