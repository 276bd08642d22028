#include "kernels/metrics.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/metrics.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#ifndef VIVA_METRICS_ROW_TOTALS
#define VIVA_METRICS_ROW_TOTALS
namespace viva::kernels {

inline constexpr std::size_t virtual_lanes = 16;

/// The f64 sums of one row, one per virtual lane, before they are folded in lane order.
struct row_lanes {
  double square_error[virtual_lanes] = {}, abs_error[virtual_lanes] = {};
  double square_source[virtual_lanes] = {}, square_decoded[virtual_lanes] = {};
  double product[virtual_lanes] = {};

  // Products of two f32 are exact in f64, so a fused multiply-add changes no bit.
  void add(std::size_t lane, float x, float y) noexcept {
    const double e = x - y, wide_x = x, wide_y = y;
    square_error[lane] += e * e;
    abs_error[lane] += std::fabs(e);
    square_source[lane] += wide_x * wide_x;
    square_decoded[lane] += wide_y * wide_y;
    product[lane] += wide_x * wide_y;
  }
};

} // namespace viva::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One pass per group of lanes keeps five accumulators in registers; the row stays in cache.
// REQUIRES: all x and y finite.
void row_sums(const float* x, const float* y, std::size_t cols, row_lanes& lanes) {
  const hn::CappedTag<double, virtual_lanes> d;
  const hn::Rebind<float, decltype(d)> df;
  const std::size_t width = hn::Lanes(d);
  for (std::size_t first = 0; first < virtual_lanes; first += width) {
    auto ee = hn::Zero(d), ae = ee, xx = ee, yy = ee, xy = ee;
    std::size_t j = first;
    for (; j + width <= cols; j += virtual_lanes) {
      const auto vx = hn::LoadU(df, x + j), vy = hn::LoadU(df, y + j);
      const auto e = hn::PromoteTo(d, hn::Sub(vx, vy));
      const auto wx = hn::PromoteTo(d, vx), wy = hn::PromoteTo(d, vy);
      ee = hn::MulAdd(e, e, ee);
      ae = hn::Add(ae, hn::Abs(e));
      xx = hn::MulAdd(wx, wx, xx);
      yy = hn::MulAdd(wy, wy, yy);
      xy = hn::MulAdd(wx, wy, xy);
    }
    hn::StoreU(ee, d, lanes.square_error + first);
    hn::StoreU(ae, d, lanes.abs_error + first);
    hn::StoreU(xx, d, lanes.square_source + first);
    hn::StoreU(yy, d, lanes.square_decoded + first);
    hn::StoreU(xy, d, lanes.product + first);
    for (; j < cols && j % virtual_lanes < first + width; ++j)
      lanes.add(j % virtual_lanes, x[j], y[j]);
  }
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/convert.hpp"

namespace viva::kernels {
namespace {

constexpr int bucket_shift = 18; // keeps 8 exponent and 5 mantissa bits of a magnitude

double fold(const double (&lanes)[virtual_lanes]) noexcept {
  double total = 0;
  for (const double lane : lanes)
    total += lane;
  return total;
}

void add_row(const row_lanes& lanes, error_sums& sums) {
  sums.square_error.add(fold(lanes.square_error));
  sums.abs_error.add(fold(lanes.abs_error));
  sums.square_source.add(fold(lanes.square_source));
  sums.square_decoded.add(fold(lanes.square_decoded));
  sums.product.add(fold(lanes.product));
}

void note_error(float x, float y, error_sums& sums, std::uint64_t* counts) {
  const float e = std::fabs(x - y);
  sums.max_error = std::max(sums.max_error, e);
  ++counts[std::bit_cast<std::uint32_t>(e) >> bucket_shift];
}

std::uint64_t* histogram_of(error_sums& sums) {
  sums.errors.counts.resize(magnitude_histogram::bucket_count);
  return sums.errors.counts.data();
}

void measure_row_scalar(const float* x, const float* y, std::size_t cols, error_sums& sums) {
  auto* counts = histogram_of(sums);
  row_lanes lanes;
  for (std::size_t j = 0; j < cols; ++j) {
    if (!std::isfinite(x[j]) || !std::isfinite(y[j])) {
      ++sums.not_finite;
      continue;
    }
    lanes.add(j % virtual_lanes, x[j], y[j]);
    note_error(x[j], y[j], sums, counts);
  }
  add_row(lanes, sums);
}

/// The middle of bucket `i`, in magnitude.
double bucket_middle(std::size_t i) noexcept {
  const auto low = std::bit_cast<float>(static_cast<std::uint32_t>(i) << bucket_shift);
  const auto high = std::bit_cast<float>(static_cast<std::uint32_t>(i + 1) << bucket_shift);
  return i == 0 ? 0.0 : (double{low} + double{high}) / 2;
}

// -- bytes for the journal: LEB128, every field in declaration order ---------------------------

void put(std::string& out, std::uint64_t v) {
  for (; v >= 128; v >>= 7)
    out.push_back(static_cast<char>(v | 128));
  out.push_back(static_cast<char>(v));
}

bool take(std::string_view& in, std::uint64_t& v) {
  v = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(in.front());
    in.remove_prefix(1);
    v |= std::uint64_t{byte & 127u} << shift;
    if (byte < 128)
      return true;
  }
  return false;
}

constexpr char encoding_version = 1;

} // namespace

HWY_EXPORT(row_sums);

void magnitude_histogram::merge(const magnitude_histogram& other) {
  if (other.counts.empty())
    return;
  counts.resize(bucket_count);
  for (std::size_t i = 0; i < counts.size(); ++i)
    counts[i] += other.counts[i];
}

double magnitude_histogram::quantile(double q) const noexcept {
  std::uint64_t total = 0;
  for (const auto n : counts)
    total += n;
  if (total == 0)
    return 0;
  const auto rank = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(total)));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counts.size(); ++i)
    if ((seen += counts[i]) >= rank && counts[i] > 0)
      return bucket_middle(i);
  return bucket_middle(counts.size() - 1);
}

std::uint64_t magnitude_histogram::above(double magnitude) const noexcept {
  const auto border = std::bit_cast<std::uint32_t>(static_cast<float>(magnitude)) >> bucket_shift;
  std::uint64_t total = 0;
  for (std::size_t i = border + 1; i < counts.size(); ++i)
    total += counts[i];
  return total;
}

void error_sums::merge(const error_sums& other) {
  count += other.count;
  not_finite += other.not_finite;
  square_error.merge(other.square_error);
  abs_error.merge(other.abs_error);
  square_source.merge(other.square_source);
  square_decoded.merge(other.square_decoded);
  product.merge(other.product);
  max_error = std::max(max_error, other.max_error);
  errors.merge(other.errors);
}

std::string error_sums::encode() const {
  std::string out(1, encoding_version);
  put(out, count);
  put(out, not_finite);
  for (const auto* sum : {&square_error, &abs_error, &square_source, &square_decoded, &product})
    for (const auto limb : sum->canonical())
      put(out, static_cast<std::uint64_t>(limb) << 1 ^ static_cast<std::uint64_t>(limb >> 63));
  put(out, std::bit_cast<std::uint32_t>(max_error));
  put(out, static_cast<std::uint64_t>(
             std::ranges::count_if(errors.counts, [](auto n) { return n != 0; })));
  std::size_t last = 0;
  for (std::size_t i = 0; i < errors.counts.size(); ++i)
    if (errors.counts[i] != 0) {
      put(out, i - last);
      put(out, errors.counts[i]);
      last = i;
    }
  return out;
}

bool error_sums::decode(std::string_view bytes, error_sums& out) {
  out = {};
  if (bytes.empty() || bytes.front() != encoding_version)
    return false;
  bytes.remove_prefix(1);
  std::uint64_t v = 0, buckets = 0;
  if (!take(bytes, out.count) || !take(bytes, out.not_finite))
    return false;
  for (auto* sum : {&out.square_error, &out.abs_error, &out.square_source, &out.square_decoded,
                    &out.product}) {
    std::array<std::int64_t, exact_sum::limb_count> limbs{};
    for (auto& limb : limbs) {
      if (!take(bytes, v))
        return false;
      limb = static_cast<std::int64_t>(v >> 1) ^ -static_cast<std::int64_t>(v & 1);
    }
    *sum = exact_sum::from_canonical(limbs);
  }
  if (!take(bytes, v) || v > 0xffffffffu)
    return false;
  out.max_error = std::bit_cast<float>(static_cast<std::uint32_t>(v));
  if (!take(bytes, buckets) || buckets > magnitude_histogram::bucket_count)
    return false;
  if (buckets > 0)
    out.errors.counts.resize(magnitude_histogram::bucket_count);
  for (std::uint64_t i = 0, at = 0; i < buckets; ++i) {
    std::uint64_t step = 0, n = 0;
    if (!take(bytes, step) || !take(bytes, n) || step >= magnitude_histogram::bucket_count
        || (at += step) >= magnitude_histogram::bucket_count)
      return false;
    out.errors.counts[at] = n;
  }
  return bytes.empty();
}

void measure_reference(const float* x, const float* y, std::size_t rows, std::size_t cols,
                       error_sums& sums) {
  sums.count += rows * cols;
  for (std::size_t r = 0; r < rows; ++r)
    measure_row_scalar(x + r * cols, y + r * cols, cols, sums);
}

void measure_simd(const float* x, const float* y, std::size_t rows, std::size_t cols,
                  error_sums& sums) {
  sums.count += rows * cols;
  const auto finite = [&](const float* p) {
    return first_not_finite(reinterpret_cast<const std::byte*>(p), dtype::f32, cols) == cols;
  };
  for (std::size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    if (!finite(x) || !finite(y)) {
      measure_row_scalar(x, y, cols, sums);
      continue;
    }
    row_lanes lanes;
    HWY_DYNAMIC_DISPATCH(row_sums)(x, y, cols, lanes);
    add_row(lanes, sums);
    auto* counts = histogram_of(sums);
    for (std::size_t j = 0; j < cols; ++j)
      note_error(x[j], y[j], sums, counts);
  }
}

metrics finish(const error_sums& sums) {
  metrics m{.count = sums.count, .not_finite = sums.not_finite};
  const auto measured = static_cast<double>(sums.count - sums.not_finite);
  if (measured == 0)
    return m;
  const double ee = sums.square_error.value(), xx = sums.square_source.value();
  const double yy = sums.square_decoded.value();
  m.mse = ee / measured;
  m.rmse = std::sqrt(m.mse);
  m.mae = sums.abs_error.value() / measured;
  m.max_error = sums.max_error;
  m.p99 = sums.errors.quantile(0.99);
  m.cosine = xx > 0 && yy > 0 ? sums.product.value() / (std::sqrt(xx) * std::sqrt(yy))
                              : (xx == yy ? 1.0 : 0.0);
  m.snr_db = ee > 0 ? 10 * std::log10(xx / ee) : HUGE_VAL;
  m.rel_rms = ee == 0 ? 0.0 : xx > 0 ? std::sqrt(ee / xx) : HUGE_VAL;
  m.outliers = sums.errors.above(4 * m.rmse);
  return m;
}

} // namespace viva::kernels
#endif // HWY_ONCE
