// NVFP4 in vectors: the Formats of fp4-inl.hpp for both rules.

#include "kernels/fp4-inl.hpp"
#include "kernels/nvfp4.hpp"

#if defined(VIVA_KERNELS_NVFP4_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef VIVA_KERNELS_NVFP4_INL
#undef VIVA_KERNELS_NVFP4_INL
#else
#define VIVA_KERNELS_NVFP4_INL
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

struct nvfp4_format {
  static constexpr std::size_t block_values = nvfp4::block_values;
  static constexpr bool multiplies = false;
  float global;

  /// nvfp4::scale_code_of and factor_of.
  HWY_INLINE void scale_to(float top, vf32 amax, vi32& code, vf32& factor) const {
    const df32 d;
    const di32 di;
    const auto g = hn::Set(d, global);
    code = e4m3_codes(hn::Mul(g, hn::Div(amax, hn::Set(d, top))));
    code = hn::IfThenElse(hn::Eq(code, hn::Zero(di)), hn::Set(di, 0x20), code);
    factor = hn::Div(e4m3_values(code), g);
  }
  HWY_INLINE void scale(vf32 amax, vi32& code, vf32& factor) const {
    scale_to(e2m1_max, amax, code, factor);
  }
  template <class Source>
  HWY_INLINE void refine(Source, const std::byte*, std::size_t, fp4_scales&) const {}
  HWY_INLINE vi32 code(vf32 x, vf32 factor) const {
    return e2m1_codes(hn::Div(x, factor));
  }
#if VIVA_E2M1_BORDERS
  static constexpr auto ties = e2m1_ties::to_even;
  HWY_INLINE vf32 borders(vf32 factor) const {
    return e2m1_scaled_edges(factor);
  }
  HWY_INLINE auto regular(vf32 amax, vf32 factor, vf32 inverse) const {
    const df32 d;
    const auto in_bins = hn::Le(hn::Mul(amax, inverse), hn::Set(d, e2m1_bins_max));
    const auto low = hn::Ge(factor, hn::Set(d, 0x1p-90f));
    return hn::And(in_bins, hn::And(low, hn::Le(factor, hn::Set(d, 0x1p90f))));
  }
#endif
};

/// The sums of four vectors of four as (v0 + v2) + (v1 + v3), in order.
template <class D, class V>
HWY_INLINE V sums_of_fours(D d, V a, V b, V c, V e) {
  const hn::RepartitionToWide<D> wide;
  const auto join = [&](V x, V y) {
    return hn::BitCast(wide, hn::Add(hn::InterleaveLower(d, x, y), hn::InterleaveUpper(d, x, y)));
  };
  const auto ab = join(a, b);
  const auto ce = join(c, e);
  return hn::Add(hn::BitCast(d, hn::InterleaveLower(wide, ab, ce)),
                 hn::BitCast(d, hn::InterleaveUpper(wide, ab, ce)));
}

/// `Weighed`: squared errors count as often as their columns' channels say.
template <bool Weighed>
struct nvfp4_four_or_six_format : nvfp4_format {
  using d4 = hn::CappedTag<float, 4>;
  const float* weights = nullptr; ///< Where weighed: one for each value of the blocks.

  /// tj of one block: the squares of its 16 errors, folded to four. Its first value is value `at`
  /// of the blocks.
  template <class Source>
  HWY_INLINE hn::Vec<d4> errors(Source from, const std::byte* HWY_RESTRICT in, std::size_t at,
                                vf32 factor) const {
    const auto squares = [&](std::size_t i) {
      const auto y = hn::Div(load(from, in + (at + i) * from.bytes), factor);
      const auto error = hn::Sub(hn::Abs(y), rounded_value(round_e2m1(y), 0x1p22f));
      const auto square = hn::Mul(error, error);
      return Weighed ? hn::Mul(hn::LoadU(df32(), weights + at + i), square) : square;
    };
    if constexpr (hn::MaxLanes(df32()) == 4) {
      return hn::Add(hn::Add(squares(0), squares(8)), hn::Add(squares(4), squares(12)));
    } else {
      const auto folded = [&] {
        if constexpr (hn::MaxLanes(df32()) == 8) {
          return hn::Add(squares(0), squares(8));
        } else {
          const hn::Half<df32> d8;
          const auto all = squares(0);
          return hn::Add(hn::LowerHalf(d8, all), hn::UpperHalf(d8, all));
        }
      }();
      return hn::Add(hn::LowerHalf(d4(), folded), hn::UpperHalf(d4(), folded));
    }
  }

  /// The costs of all blocks by the scales of `all`.
  template <class Source>
  HWY_INLINE void costs(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                        const fp4_scales& all, float* HWY_RESTRICT out) const {
    for (std::size_t b = 0; b < blocks; b += 4) {
      const auto of = [&](std::size_t k) {
        return errors(from, in, (b + k) * block_values, hn::Set(df32(), all.factor[b + k]));
      };
      hn::Store(sums_of_fours(d4(), of(0), of(1), of(2), of(3)), d4(), out + b);
    }
    for (std::size_t b = 0; b < blocks; b += lanes()) {
      const auto s = e4m3_values(hn::Load(di32(), all.code + b));
      hn::Store(hn::Mul(hn::Load(df32(), out + b), hn::Mul(s, s)), df32(), out + b);
    }
  }

  template <class Source>
  HWY_INLINE void refine(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                         fp4_scales& all) const {
    const df32 d;
    const di32 di;
    fp4_scales four;
    for (std::size_t b = 0; b < blocks; b += lanes()) {
      vi32 code;
      vf32 factor;
      scale_to(4.0f, hn::BitCast(d, hn::Load(di, all.amax + b)), code, factor);
      hn::Store(code, di, four.code + b);
      hn::Store(factor, d, four.factor + b);
    }
    HWY_ALIGN float cost_of_six[fp4_batch];
    HWY_ALIGN float cost_of_four[fp4_batch];
    for (std::size_t b = blocks; b % lanes() != 0; ++b)
      cost_of_six[b] = cost_of_four[b] = 0;
    costs(from, in, blocks, all, cost_of_six);
    costs(from, in, blocks, four, cost_of_four);
    for (std::size_t b = 0; b < blocks; b += lanes()) {
      const auto better = hn::Lt(hn::Load(d, cost_of_four + b), hn::Load(d, cost_of_six + b));
      const auto factor =
          hn::IfThenElse(better, hn::Load(d, four.factor + b), hn::Load(d, all.factor + b));
      const auto code = hn::IfThenElse(hn::RebindMask(di, better), hn::Load(di, four.code + b),
                                       hn::Load(di, all.code + b));
      hn::Store(factor, d, all.factor + b);
      hn::Store(code, di, all.code + b);
    }
  }
};

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
