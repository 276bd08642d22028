#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/measure.cpp"
#include <hwy/foreach_target.h>

#include "kernels/measure.hpp"
#include "kernels/simd-inl.hpp"

#include <limits>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

using df64 = hn::CappedTag<double, 8>;
using vf64 = hn::Vec<df64>;

/// Columns between two looks at whether all were finite; whole groups of 16.
inline constexpr std::size_t piece_columns = 512;

/// Adds 16 values' worth of one piece to lanes [lane, lane + lanes of f64), over all its groups.
/// Five accumulators live in registers; x, y and e are read from cache once for each part.
HWY_INLINE void measure_lanes_from(const float* x, const float* y, const float* e,
                                   std::size_t count, std::size_t lane, row_sums& row) {
  const df64 d;
  const hn::Rebind<float, df64> dhalf;
  auto square_error = hn::LoadU(d, row.square_error.data() + lane);
  auto abs_error = hn::LoadU(d, row.abs_error.data() + lane);
  auto square_source = hn::LoadU(d, row.square_source.data() + lane);
  auto square_decoded = hn::LoadU(d, row.square_decoded.data() + lane);
  auto product = hn::LoadU(d, row.product.data() + lane);
  for (std::size_t i = lane; i < count; i += measure_lanes) {
    const auto xs = hn::PromoteTo(d, hn::LoadU(dhalf, x + i));
    const auto ys = hn::PromoteTo(d, hn::LoadU(dhalf, y + i));
    const auto es = hn::PromoteTo(d, hn::LoadU(dhalf, e + i));
    // A product of two f32 is exact in f64, so fused or not is the same.
    square_error = hn::MulAdd(es, es, square_error);
    abs_error = hn::Add(abs_error, hn::Abs(es));
    square_source = hn::MulAdd(xs, xs, square_source);
    square_decoded = hn::MulAdd(ys, ys, square_decoded);
    product = hn::MulAdd(xs, ys, product);
  }
  hn::StoreU(square_error, d, row.square_error.data() + lane);
  hn::StoreU(abs_error, d, row.abs_error.data() + lane);
  hn::StoreU(square_source, d, row.square_source.data() + lane);
  hn::StoreU(square_decoded, d, row.square_decoded.data() + lane);
  hn::StoreU(product, d, row.product.data() + lane);
}

/// Measures `count` columns, whole groups of 16 and at most a piece. False, with nothing changed,
/// where a pair or its difference is not finite.
bool measure_piece(const float* x, const float* y, std::size_t count, row_sums& row,
                   error_sums& sums, std::uint64_t* buckets) {
  const df32 d;
  HWY_ALIGN float e[piece_columns];
  HWY_ALIGN std::uint32_t bucket[piece_columns];
  auto max = hn::Zero(di32());
  for (std::size_t i = 0; i < count; i += lanes()) {
    const auto difference = hn::Sub(hn::LoadU(d, x + i), hn::LoadU(d, y + i));
    const auto bits = hn::BitCast(di32(), hn::Abs(difference));
    max = hn::Max(max, bits); // orders NaN above infinity above every number
    hn::Store(difference, d, e + i);
    hn::Store(hn::ShiftRight<magnitude_histogram::bucket_shift>(hn::BitCast(du32(), bits)), du32(),
              bucket + i);
  }
  HWY_ALIGN std::int32_t largest[16];
  hn::Store(max, di32(), largest);
  const auto max_bits = static_cast<std::uint32_t>(*std::max_element(largest, largest + lanes()));
  if (max_bits >= infinity_bits)
    return false;
  for (std::size_t lane = 0; lane < measure_lanes; lane += hn::MaxLanes(df64()))
    measure_lanes_from(x, y, e, count, lane, row);
  for (std::size_t i = 0; i < count; ++i)
    ++buckets[bucket[i]];
  sums.count += count;
  sums.max_error = std::max(sums.max_error, float_of(max_bits));
  return true;
}

void measure_rows(const float* x, const float* y, std::size_t rows, std::size_t cols,
                  error_sums& sums) {
  auto* buckets = measure_buckets(sums);
  for (std::size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    row_sums row;
    std::size_t column = 0;
    while (column < cols) {
      const auto whole = std::min(piece_columns, (cols - column) / measure_lanes * measure_lanes);
      const auto count = whole != 0 ? whole : cols - column;
      if (whole == 0 || !measure_piece(x + column, y + column, count, row, sums, buckets))
        measure_values(x + column, y + column, column, count, row, sums);
      column += count;
    }
    measure_close(row, sums);
  }
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(measure_rows);

void measure_simd(const float* x, const float* y, std::size_t rows, std::size_t cols,
                  error_sums& sums) {
  HWY_DYNAMIC_DISPATCH(measure_rows)(x, y, rows, cols, sums);
}

std::uint64_t* measure_buckets(error_sums& sums) {
  if (sums.errors.counts.empty())
    sums.errors.counts.resize(magnitude_histogram::bucket_count);
  return sums.errors.counts.data();
}

void measure_values(const float* x, const float* y, std::size_t column, std::size_t count,
                    row_sums& row, error_sums& sums) {
  auto* buckets = measure_buckets(sums);
  constexpr float largest = std::numeric_limits<float>::max();
  for (std::size_t i = 0; i < count; ++i) {
    if (!is_finite(x[i]) || !is_finite(y[i])) {
      ++sums.not_finite;
      continue;
    }
    const float e = std::clamp(x[i] - y[i], -largest, largest);
    const std::size_t lane = (column + i) % measure_lanes;
    const double wide_x = x[i];
    const double wide_y = y[i];
    const double wide_e = e;
    row.square_error[lane] += wide_e * wide_e;
    row.abs_error[lane] += magnitude(e);
    row.square_source[lane] += wide_x * wide_x;
    row.square_decoded[lane] += wide_y * wide_y;
    row.product[lane] += wide_x * wide_y;
    ++buckets[magnitude_histogram::bucket_of(e)];
    ++sums.count;
    sums.max_error = std::max(sums.max_error, magnitude(e));
  }
}

void measure_close(const row_sums& row, error_sums& sums) {
  const auto total = [](const row_sums::lane_array& lanes) {
    double sum = 0;
    for (const double lane : lanes)
      sum += lane;
    return sum;
  };
  sums.square_error.add(total(row.square_error));
  sums.abs_error.add(total(row.abs_error));
  sums.square_source.add(total(row.square_source));
  sums.square_decoded.add(total(row.square_decoded));
  sums.product.add(total(row.product));
}

void measure_reference(const float* x, const float* y, std::size_t rows, std::size_t cols,
                       error_sums& sums) {
  for (std::size_t r = 0; r < rows; ++r, x += cols, y += cols) {
    row_sums row;
    measure_values(x, y, 0, cols, row, sums);
    measure_close(row, sums);
  }
}

} // namespace viva::kernels
#endif
