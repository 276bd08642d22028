// The scales and zero points of int4's groups, per target; the search has its 16 factors in lanes.

#include "kernels/group-inl.hpp"
#include "kernels/int4.hpp"

#if defined(VIVA_KERNELS_INT4_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_INT4_INL
#undef VIVA_KERNELS_INT4_INL
#else
#define VIVA_KERNELS_INT4_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// The refitted scale of a searchable group of `count` values. `weights`, where `Weighed`, are its
/// columns' channels.
template <bool Weighed>
float int4_searched(const float* HWY_RESTRICT x, const float* HWY_RESTRICT weights,
                    std::size_t count, int4::group_scale by, dtype source) {
  constexpr std::size_t vectors = int4::factors_count / hn::MaxLanes(df32());
  const df32 d;
  const auto low = hn::Set(d, static_cast<float>(-8 - by.zero));
  const auto high = hn::Set(d, static_cast<float>(7 - by.zero));
  const auto magic = hn::Set(d, 0x1.8p23f); // added and taken away, it rounds to integers
  vf32 inverse[vectors];
  vf32 a[vectors];
  vf32 b[vectors];
  for (std::size_t v = 0; v < vectors; ++v) {
    a[v] = b[v] = hn::Zero(d);
    inverse[v] = hn::Mul(hn::LoadU(d, int4::inverse_factors.data() + v * lanes()),
                         hn::Set(d, 1.0f / by.scale));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto xs = hn::Set(d, x[i]);
    const auto weighed_x = Weighed ? hn::Set(d, weights[i] * x[i]) : xs;
    for (std::size_t v = 0; v < vectors; ++v) {
      const auto t = hn::Min(hn::Max(hn::Mul(xs, inverse[v]), low), high);
      const auto k = hn::Sub(hn::Add(t, magic), magic);
      const auto weighed_k = Weighed ? hn::Mul(hn::Set(d, weights[i]), k) : k;
      a[v] = hn::Add(a[v], hn::Mul(weighed_x, k)); // rounds twice, as the reference does
      b[v] = hn::Add(b[v], hn::Mul(weighed_k, k));
    }
  }
  HWY_ALIGN float sums_a[int4::factors_count];
  HWY_ALIGN float sums_b[int4::factors_count];
  for (std::size_t v = 0; v < vectors; ++v) {
    hn::Store(a[v], d, sums_a + v * lanes());
    hn::Store(b[v], d, sums_b + v * lanes());
  }
  return int4::best_scale(sums_a, sums_b, by, source);
}

/// Channels by column: of flat group g, those from `g * block % cols` on. Without channels, null.
struct int4_weights {
  const float* channels = nullptr;
  std::size_t cols = 0;
};

/// Refits the scales of `groups` groups, the first of which is flat group `first`.
template <class Source>
void int4_search(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                 std::size_t first, std::size_t groups, const int4_weights& weights,
                 const float* HWY_RESTRICT amax, group_scales& by) {
  HWY_ALIGN float x[128];
  for (std::size_t g = 0; g < groups; ++g, in += block * from.bytes) {
    if (!int4::searchable(amax[g]))
      continue;
    for (std::size_t i = 0; i < block; i += lanes())
      hn::Store(load(from, in + i * from.bytes), df32(), x + i);
    const int4::group_scale start{by.scale[g], static_cast<int>(by.zero[g])};
    by.scale[g] =
        weights.channels == nullptr
            ? int4_searched<false>(x, nullptr, block, start, from.type)
            : int4_searched<true>(x, weights.channels + (first + g) * block % weights.cols, block,
                                  start, from.type);
    by.inverse[g] = 1.0f / by.scale[g];
  }
}

/// int4::asymmetric of every group. False where a value is not finite.
template <class Source>
HWY_INLINE bool int4_spans(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                           std::size_t groups, float* HWY_RESTRICT amax, group_scales& by) {
  const df32 d;
  const di32 di;
  HWY_ALIGN std::int32_t positive[group_batch] = {};
  HWY_ALIGN std::uint32_t negative[group_batch] = {};
  fold_both_signs(from, in, block, groups, positive, negative);
  auto largest = hn::Zero(di);
  for (std::size_t g = 0; g < groups; g += lanes()) {
    const auto above_bits = hn::Max(hn::Load(di, positive + g), hn::Zero(di));
    const auto signed_bits = hn::BitCast(di, hn::Load(du32(), negative + g));
    const auto below_bits = hn::IfThenElseZero(hn::Lt(signed_bits, hn::Zero(di)),
                                               hn::And(signed_bits, hn::Set(di, 0x7FFFFFFF)));
    const auto larger = hn::Max(above_bits, below_bits);
    largest = hn::Max(largest, larger);
    hn::Store(hn::BitCast(d, larger), d, amax + g);
    const auto above = hn::BitCast(d, above_bits);
    const auto below = hn::BitCast(d, below_bits); // -min
    const auto span = hn::Add(above, below);
    const auto half = hn::Set(d, 0.5f);
    const auto halves = hn::Add(hn::Mul(above, half), hn::Mul(below, half));
    const auto finite = hn::Lt(span, hn::Set(d, float_of(infinity_bits)));
    store_group_scale(
        from,
        hn::IfThenElse(finite, hn::Div(span, hn::Set(d, 15.0f)), hn::Div(halves, hn::Set(d, 7.5f))),
        g, by);
    const auto zero = hn::Add(hn::Div(below, hn::Load(d, by.scale + g)), hn::Set(d, -8.0f));
    const auto clamped = hn::Min(hn::Max(zero, hn::Set(d, -8.0f)), hn::Set(d, 7.0f));
    hn::Store(hn::ConvertTo(d, nearest_i32(clamped)), d, by.zero + g);
  }
  return hn::AllTrue(di, hn::Lt(largest, hn::Set(di, infinity_bits)));
}

/// Scales, reciprocals and zero points of `groups` groups, a multiple of four, from flat group
/// `first` on. False where a value is not finite.
template <class Source>
HWY_INLINE bool int4_group_scales(Source from, const std::byte* HWY_RESTRICT in, std::size_t block,
                                  std::size_t first, std::size_t groups, std::uint32_t flags,
                                  const int4_weights& weights, group_scales& by) {
  HWY_ALIGN float amax[group_batch];
  if ((flags & int4::asym) != 0) {
    if (!int4_spans(from, in, block, groups, amax, by))
      return false;
  } else {
    if (!fold_group_magnitudes(from, in, block, groups, amax))
      return false;
    const auto steps = hn::Set(df32(), (flags & int4::absmax) != 0 ? 7.0f : 7.5f);
    for (std::size_t g = 0; g < groups; g += lanes())
      store_group_scale(from, hn::Div(hn::Load(df32(), amax + g), steps), g, by);
  }
  if ((flags & int4::search) != 0)
    int4_search(from, in, block, first, groups, weights, amax, by);
  return true;
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
