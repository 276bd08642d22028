#include "kernels/awq_search.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/awq_search.cpp"
#include <hwy/foreach_target.h>

#include "kernels/awq-inl.hpp"
#include "kernels/bytes.hpp"
#include "kernels/scalar.hpp"

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

/// Loads `count` values of a row, from column `first` on.
template <class Source>
HWY_INLINE void awq_load(Source from, const matrix& in, std::size_t row, std::size_t first,
                         std::size_t count, float* HWY_RESTRICT x) {
  const auto* at = in.data + (row * in.cols + first) * from.bytes;
  for (std::size_t i = 0; i < count; i += lanes())
    hn::Store(load(from, at + i * from.bytes), df32(), x + i);
}

HWY_INLINE void awq_add_shares(const float* HWY_RESTRICT x, std::size_t count, float magnitude,
                               std::uint64_t* HWY_RESTRICT sums) {
  const df32 d;
  const hn::CappedTag<std::uint64_t, hn::MaxLanes(df32()) / 2> wide;
  const hn::Rebind<std::uint32_t, decltype(wide)> narrow;
  const auto divisor = hn::Set(d, magnitude + 1e-6f);
  HWY_ALIGN std::uint32_t shares[awq::group_max];
  for (std::size_t i = 0; i < count; i += lanes()) {
    const auto share = hn::Div(hn::Abs(hn::Load(d, x + i)), divisor);
    const auto fixed = truncated_i32(hn::Mul(share, hn::Set(d, 0x1p24f)));
    hn::Store(hn::BitCast(du32(), fixed), du32(), shares + i);
  }
  for (std::size_t i = 0; i < count; i += hn::MaxLanes(wide))
    hn::StoreU(
        hn::Add(hn::LoadU(wide, sums + i), hn::PromoteTo(wide, hn::Load(narrow, shares + i))), wide,
        sums + i);
}

/// A group by each candidate's scales: the values, and what they are encoded with.
struct awq_scaled {
  static constexpr std::size_t most = (awq::candidates + 15) / 16 * 16;
  HWY_ALIGN float values[awq::candidates][awq::group_max];
  HWY_ALIGN float lo[most] = {}, hi[most] = {};
  HWY_ALIGN float scale[most], zero[most];
};

/// Ranges of all candidates before the first code, and codes before the first loss: codes are made
/// side by side, and where a range folds its lanes, those of other candidates go on. Nothing is
/// clipped, so what overflows has a loss that is no number.
HWY_INLINE void awq_scale(const float* HWY_RESTRICT x, const awq::scale_table& table,
                          std::size_t first, std::size_t count, awq_scaled& to) {
  const df32 d;
  for (std::size_t c = 0; c < awq::candidates; ++c) {
    const float* scales = table.scales.data() + c * table.cols + first;
    auto lo = hn::Zero(d), hi = hn::Zero(d);
    for (std::size_t i = 0; i < count; i += lanes()) {
      const auto v = hn::Mul(hn::Load(d, x + i), hn::LoadU(d, scales + i));
      hn::Store(v, d, to.values[c] + i);
      lo = hn::Min(lo, v);
      hi = hn::Max(hi, v);
    }
    to.lo[c] = hn::GetLane(hn::MinOfLanes(d, lo)) + 0.0f; // as awq_range: one zero
    to.hi[c] = hn::GetLane(hn::MaxOfLanes(d, hi)) + 0.0f;
  }
  const auto unclipped = hn::Inf(d);
  for (std::size_t c = 0; c < awq::candidates; c += lanes())
    awq_store_group_codes(hn::Load(d, to.lo + c), hn::Load(d, to.hi + c), unclipped, to.scale + c,
                          to.zero + c);
}

} // namespace

status awq_shares(const recipe& with, const matrix& in, std::uint64_t* sums) {
  return with_source(in.type, [&](auto from) -> status {
    HWY_ALIGN float x[awq::group_max];
    for (std::size_t r = 0; r < in.rows; ++r)
      for (std::size_t first = 0; first < in.cols; first += with.block) {
        const auto count = std::min<std::size_t>(with.block, in.cols - first);
        awq_load(from, in, r, first, count, x);
        bool finite = true;
        const auto range = awq_range(x, count, finite);
        if (!finite)
          return refuse_not_finite(in);
        awq_add_shares(x, count, range.magnitude, sums + first);
      }
    return {};
  });
}

/// Adds each row's loss, for every candidate, through `add`.
status awq_losses(const recipe& with, const matrix& in, const awq::scale_table& table,
                  awq::loss_sums& out, void (*add)(awq::loss_sums&, std::size_t, double)) {
  return with_source(in.type, [&](auto from) -> status {
    HWY_ALIGN float x[awq::group_max];
    awq_scaled scaled;
    for (std::size_t r = 0; r < in.rows; ++r) {
      double row[awq::candidates] = {};
      for (std::size_t first = 0; first < in.cols; first += with.block) {
        const auto count = std::min<std::size_t>(with.block, in.cols - first);
        awq_load(from, in, r, first, count, x);
        bool finite = true;
        awq_range(x, count, finite);
        if (!finite)
          return refuse_not_finite(in);
        awq_scale(x, table, first, count, scaled);
        for (std::size_t c = 0; c < awq::candidates; ++c)
          row[c] +=
              static_cast<double>(awq_loss(scaled.values[c], table.weights_of(c).data() + first,
                                           count, {scaled.scale[c], scaled.zero[c]}));
      }
      for (std::size_t c = 0; c < awq::candidates; ++c)
        add(out, c, row[c]);
    }
    return {};
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(awq_shares);
HWY_EXPORT(awq_losses);

namespace awq {

namespace {

void add_row(loss_sums& out, std::size_t candidate, double loss) {
  out.sums[candidate].add(std::isfinite(loss) ? loss : 0x1p300);
}

/// Scales of one ratio, as they are multiplied with.
void fill_scales(std::span<const float> mean_abs, std::span<const double> shares, double ratio,
                 std::span<float> out) {
  double largest = 0, least = HUGE_VAL;
  std::vector<double> raw(out.size());
  for (std::size_t k = 0; k < out.size(); ++k) {
    const double x = std::pow(static_cast<double>(mean_abs[k]), ratio);
    raw[k] = std::max(x / (std::pow(shares[k], 1 - ratio) + 1e-4), 1e-4);
    largest = std::max(largest, raw[k]);
    least = std::min(least, raw[k]);
  }
  const double middle = std::sqrt(largest * least);
  for (std::size_t k = 0; k < out.size(); ++k) {
    const auto scale = f32_from_bf16(bf16_from_f32(static_cast<float>(raw[k] / middle)));
    out[k] = is_finite(scale) && scale > 0 ? scale : 1.0f;
  }
}

float scaled_loss(const matrix& in, std::size_t row, std::size_t first, std::size_t count,
                  const float* scales, const float* weights) {
  std::array<float, group_max> x{};
  for (std::size_t i = 0; i < count; ++i)
    x[i] = kernels::value_of(in, row * in.cols + first + i) * scales[i];
  return group_loss_reference(x.data(), weights, count,
                              code_of(range_of_reference(x.data(), count), 0));
}

} // namespace

status add_shares(const recipe& with, const matrix& in, std::uint64_t* sums) noexcept {
  return HWY_DYNAMIC_DISPATCH(awq_shares)(with, in, sums);
}

status add_shares_reference(const recipe& with, const matrix& in, std::uint64_t* sums) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t r = 0; r < in.rows; ++r)
    for (std::size_t first = 0; first < in.cols; first += with.block) {
      const auto count = std::min<std::size_t>(with.block, in.cols - first);
      const float divisor = magnitude_max(in, r * in.cols + first, count) + 1e-6f;
      for (std::size_t i = first; i < first + count; ++i) {
        const float share = magnitude(kernels::value_of(in, r * in.cols + i)) / divisor;
        sums[i] += static_cast<std::uint64_t>(share * 0x1p24f);
      }
    }
  return {};
}

scale_table make_scale_table(std::span<const float> mean_abs, std::span<const float> mean_square,
                             std::span<const std::uint64_t> share_sums, std::uint64_t rows) {
  const auto cols = mean_abs.size();
  scale_table table{cols, std::vector<float>(candidates * cols, 1.0f), {}};
  std::vector<double> shares(cols);
  for (std::size_t k = 0; k < cols; ++k)
    shares[k] = static_cast<double>(share_sums[k]) * 0x1p-24 / static_cast<double>(rows);
  for (std::size_t r = 0; r < ratios; ++r)
    fill_scales(mean_abs, shares, static_cast<double>(r) / ratios,
                std::span(table.scales).subspan((r + 1) * cols, cols));
  table.weights = scaled_weights(mean_square, table.scales);
  return table;
}

std::vector<float> scaled_weights(std::span<const float> mean_square,
                                  std::span<const float> scales) {
  std::vector<float> weights(scales.size());
  for (std::size_t i = 0; i < scales.size(); ++i)
    weights[i] = mean_square[i % mean_square.size()] / (scales[i] * scales[i]);
  return weights;
}

void loss_sums::merge(const loss_sums& other) noexcept {
  for (std::size_t c = 0; c < candidates; ++c)
    sums[c].merge(other.sums[c]);
}

std::size_t loss_sums::best() const noexcept {
  std::size_t best = 0;
  for (std::size_t c = 1; c < candidates; ++c)
    best = sums[c].value() < sums[best].value() ? c : best;
  return best;
}

std::string loss_sums::encode() const {
  std::string bytes;
  for (const auto& sum : sums)
    for (const auto limb : sum.canonical())
      put_varint(bytes, static_cast<std::uint64_t>(limb));
  return bytes;
}

bool loss_sums::decode(std::string_view bytes, loss_sums& out) {
  for (auto& sum : out.sums) {
    std::array<std::int64_t, exact_sum::limb_count> limbs{};
    for (auto& limb : limbs) {
      std::uint64_t word = 0;
      if (!take_varint(bytes, word))
        return false;
      limb = static_cast<std::int64_t>(word);
    }
    sum = exact_sum::from_canonical(limbs);
  }
  return bytes.empty();
}

status add_losses(const recipe& with, const matrix& in, const scale_table& table,
                  loss_sums& out) noexcept {
  return HWY_DYNAMIC_DISPATCH(awq_losses)(with, in, table, out, add_row);
}

status add_losses_reference(const recipe& with, const matrix& in, const scale_table& table,
                            loss_sums& out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t r = 0; r < in.rows; ++r)
    for (std::size_t c = 0; c < candidates; ++c) {
      double row = 0;
      for (std::size_t first = 0; first < in.cols; first += with.block)
        row += static_cast<double>(
            scaled_loss(in, r, first, std::min<std::size_t>(with.block, in.cols - first),
                        table.scales_of(c).data() + first, table.weights_of(c).data() + first));
      add_row(out, c, row);
    }
  return {};
}

} // namespace awq
} // namespace viva::kernels
#endif
