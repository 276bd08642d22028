// The searches of ggml_weighed.hpp, a block in each lane.

#include "kernels/ggml_weighed.hpp"
#include "kernels/pack-inl.hpp"

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
  HWY_ALIGN float wx[ggml_weighed::values][hn::MaxLanes(df32())]; ///< w x
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
    const auto l = weighed_level(hn::Mul(inverse, hn::Load(d, in.x[j])), low, high);
    product = hn::Add(product, hn::Mul(hn::Load(d, in.wx[j]), l));
    square = hn::Add(square, hn::Mul(hn::Mul(hn::Load(d, in.w[j]), l), l));
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

/// The error of `in.codes` at (scale, offset).
HWY_INLINE vf32 weighed_error(const weighed_blocks& in, vf32 scale, vf32 offset) {
  const df32 d;
  auto error = hn::Zero(d);
  for (std::size_t j = 0; j < ggml_weighed::values; ++j) {
    const auto off = hn::Sub(hn::Add(hn::Mul(scale, hn::Load(d, in.codes[j])), offset),
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
      min = hn::IfThenElse(hn::Lt(x, min), x, min);
      max = hn::IfThenElse(hn::Gt(x, max), x, max);
      sum_w = hn::Add(sum_w, hn::Load(d, in.w[j]));
      sum_x = hn::Add(sum_x, hn::Load(d, in.wx[j]));
    }
    min = hn::IfThenElse(hn::Gt(min, hn::Zero(d)), hn::Zero(d), min);
  }
};

/// One refit: scale and offset by least squares over the codes it leaves in `in.codes`; true in
/// lanes where there are any.
HWY_INLINE auto weighed_refit(weighed_blocks& in, const weighed_range& range, vf32 inverse,
                              vf32 min, vf32 high, vf32& scale, vf32& offset) {
  const df32 d;
  const auto zero = hn::Zero(d);
  auto sum_l = zero, sum_l2 = zero, sum_xl = zero;
  for (std::size_t j = 0; j < ggml_weighed::values; ++j) {
    const auto x = hn::Load(d, in.x[j]);
    const auto l = weighed_level(hn::Mul(inverse, hn::Sub(x, min)), zero, high);
    hn::Store(l, d, in.codes[j]);
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

/// Codes by `inverse` above `min`.
HWY_INLINE void weighed_codes(const weighed_blocks& in, vf32 inverse, vf32 min, vf32 high,
                              float (*codes)[hn::MaxLanes(df32())]) {
  const df32 d;
  for (std::size_t j = 0; j < ggml_weighed::values; ++j) {
    const auto above = hn::Sub(hn::Load(d, in.x[j]), min);
    hn::Store(weighed_level(hn::Mul(inverse, above), hn::Zero(d), high), d, codes[j]);
  }
}

HWY_INLINE void weighed_with_min(const ggml_weighed::format& as, weighed_blocks& in) {
  const df32 d;
  const auto zero = hn::Zero(d), one = hn::Set(d, 1.0f);
  const auto high = hn::Set(d, static_cast<float>(as.steps));
  const weighed_range range(in);
  const auto empty = hn::Le(range.max, range.min);
  const auto max = hn::IfThenElse(empty, hn::Add(range.min, one), range.max);
  auto min = range.min;
  // What the best codes came from: they are made again at the end, not kept.
  auto of_inverse = hn::Div(high, hn::Sub(max, min)), of_min = min;
  auto scale = hn::Div(one, of_inverse);
  weighed_codes(in, of_inverse, of_min, high, in.codes);
  auto best = weighed_error(in, scale, min);
  for (int i = 0; i < ggml_weighed::range_refits; ++i) {
    const auto inverse =
        hn::Div(hn::Set(d, ggml_weighed::range_numerator_of(as.steps, i)), hn::Sub(max, min));
    vf32 at, offset;
    const auto solved = weighed_refit(in, range, inverse, min, high, at, offset);
    const auto error = weighed_error(in, at, offset);
    const auto better = hn::And(solved, hn::Lt(error, best));
    of_inverse = hn::IfThenElse(better, inverse, of_inverse);
    of_min = hn::IfThenElse(better, min, of_min);
    best = hn::IfThenElse(better, error, best);
    scale = hn::IfThenElse(better, at, scale);
    min = hn::IfThenElse(better, offset, min);
  }
  weighed_codes(in, of_inverse, of_min, high, in.codes);
  for (std::size_t j = 0; j < ggml_weighed::values; ++j)
    hn::Store(hn::IfThenElse(empty, zero, hn::Load(d, in.codes[j])), d, in.codes[j]);
  hn::Store(hn::IfThenElse(empty, zero, scale), d, in.d);
  hn::Store(min, d, in.min);
}

// -- around the search --------------------------------------------------------------------------

/// Rows whose sums are added beside each other: each sum is one chain of additions, in order.
inline constexpr std::size_t weighed_rows = 8;

/// The mean square of each of `rows` rows, at most weighed_rows.
template <class Source>
HWY_INLINE void weighed_means(Source from, const matrix& in, std::size_t first, std::size_t rows,
                              float* HWY_RESTRICT means) {
  constexpr std::size_t part = 128;
  HWY_ALIGN float x[weighed_rows][part];
  float sums[weighed_rows] = {};
  for (std::size_t k = 0; k < in.cols; k += part) {
    const auto count = std::min(part, in.cols - k); // whole blocks
    for (std::size_t r = 0; r < weighed_rows; ++r) {
      const auto row = first + std::min(r, rows - 1); // the last fills up
      const auto* at = in.data + (row * in.cols + k) * from.bytes;
      for (std::size_t i = 0; i < count; i += lanes())
        hn::Store(load(from, at + i * from.bytes), df32(), x[r] + i);
    }
    for (std::size_t i = 0; i < count; ++i) {
      VIVA_UNROLL(8)
      for (std::size_t r = 0; r < weighed_rows; ++r)
        sums[r] += x[r][i] * x[r][i];
    }
  }
  for (std::size_t r = 0; r < rows; ++r)
    means[r] = sums[r] / static_cast<float>(in.cols);
}

/// Takes `count` blocks, at most `lanes()`, with the channels of their columns. `x` are their
/// values, one block after the other.
HWY_INLINE void weighed_take(const float* HWY_RESTRICT x, const float* HWY_RESTRICT channels,
                             float mean, std::size_t count, weighed_blocks& in) {
  const df32 d;
  HWY_ALIGN std::int32_t starts[hn::MaxLanes(df32())];
  for (std::size_t b = 0; b < lanes(); ++b) // the last fills up
    starts[b] = static_cast<std::int32_t>(std::min(b, count - 1) * ggml_weighed::values);
  const auto start = hn::Load(di32(), starts);
  for (std::size_t j = 0; j < ggml_weighed::values; ++j) {
    const auto values = hn::GatherIndex(d, x + j, start);
    const auto squares = hn::Add(hn::Set(d, mean), hn::Mul(values, values));
    const auto weights = hn::Mul(hn::GatherIndex(d, channels + j, start), hn::Sqrt(squares));
    hn::Store(values, d, in.x[j]);
    hn::Store(weights, d, in.w[j]);
    hn::Store(hn::Mul(weights, values), d, in.wx[j]);
  }
}

/// Codes of a search as bytes of two nibbles, and their fifth bits.
struct weighed_nibbles {
  HWY_ALIGN std::uint8_t pairs[ggml_weighed::values / 2][hn::MaxLanes(df32())];
  HWY_ALIGN std::uint32_t fifth[hn::MaxLanes(df32())];

  explicit HWY_INLINE weighed_nibbles(const weighed_blocks& in) {
    constexpr std::size_t half = ggml_weighed::values / 2;
    const hn::Rebind<std::uint8_t, di32> quarter;
    const auto zero = hn::Zero(df32());
    const auto code = [&](std::size_t j) {
      const auto level = hn::Load(df32(), in.codes[j]);
      return truncated_i32(hn::IfThenElse(hn::Gt(level, zero), level, zero)); // 0 for NaN
    };
    const auto low = hn::Set(di32(), 15);
    auto fifths = hn::Zero(di32());
    for (std::size_t j = half; j-- > 0;) {
      const auto first = code(j), second = code(j + half);
      const auto pair = hn::Or(hn::And(first, low), hn::ShiftLeft<4>(hn::And(second, low)));
      hn::StoreU(hn::DemoteTo(quarter, pair), quarter, pairs[j]);
      const auto both = hn::Or(hn::ShiftRight<4>(first),
                               hn::ShiftLeft<half - 4>(hn::AndNot(low, second)));
      fifths = hn::Or(hn::ShiftLeft<1>(fifths), both);
    }
    hn::Store(hn::BitCast(du32(), fifths), du32(), fifth);
  }
};

/// Stores block `b`.
HWY_INLINE void weighed_put(const ggml_weighed::format& as, const weighed_blocks& in,
                            const weighed_nibbles& codes, std::size_t b, std::byte* out) {
  store_as(ggml_f16(in.d[b]), out);
  out += 2;
  if (as.has_min) {
    store_as(ggml_f16(in.min[b]), out);
    out += 2;
  }
  if (as.fifth_bit) {
    store_as(codes.fifth[b], out);
    out += 4;
  }
  for (std::size_t j = 0; j < ggml_weighed::values / 2; ++j)
    out[j] = static_cast<std::byte>(codes.pairs[j][b]);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
