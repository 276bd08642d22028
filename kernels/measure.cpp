#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/measure.cpp"
#include <hwy/foreach_target.h>

#include "kernels/measure.hpp"
#include "kernels/stream-inl.hpp"

#include <limits>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Vectors that hold the 16 lanes.
inline constexpr std::size_t lane_vectors = measure_lanes / hn::MaxLanes(df32());

/// Upper halves added to lower ones until four lanes stay.
template <class D, class V>
HWY_INLINE void store_folded(D d, V v, float* out) {
  if constexpr (hn::MaxLanes(D{}) == 4) {
    hn::StoreU(v, d, out);
  } else {
    const hn::Half<D> half;
    store_folded(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)), out);
  }
}

/// Lanes 8 apart, then lanes 4 apart, added: four lanes stay.
HWY_INLINE void fold_lanes(vf32* sums, piece_sums::lane_array& out) {
  for (std::size_t n = lane_vectors / 2; n != 0; n /= 2)
    for (std::size_t v = 0; v < n; ++v)
      sums[v] = hn::Add(sums[v], sums[v + n]);
  store_folded(df32(), sums[0], out.data());
}

/// From a value that is measured to those that the encoder of the next run fetches: so it finds in
/// the second-level cache what it asks for. With only encoders asking, memory would stand still
/// while a run is decoded and measured.
constexpr std::size_t next_run_bytes = std::size_t{28} << 10;

/// Buckets of a sampled piece, which are counted beside the sums of the next piece: counting is
/// loads and stores, summing is arithmetic. By itself it takes half as long as the sums.
struct waiting_counts {
  static constexpr std::size_t most = measure_piece / measure_sampling;
  static constexpr std::size_t beside_a_group = measure_lanes / measure_sampling;
  HWY_ALIGN std::uint16_t bucket[most];
  bool any = false;
};

/// Counts two buckets that lie side by side, with the weight of sampled groups.
HWY_INLINE void count_two(const std::uint16_t* HWY_RESTRICT bucket,
                          std::uint64_t* HWY_RESTRICT buckets) {
  const auto two = load_as<std::uint32_t>(reinterpret_cast<const std::byte*>(bucket));
  buckets[two & 0xFFFF] += measure_sampling;
  buckets[two >> 16] += measure_sampling;
}

/// Sums `count` columns, whole groups of 16 and at most a piece. With `Counts` a whole piece, and
/// counts what waits.
template <bool Counts, class Source>
HWY_INLINE piece_sums sum_piece(Source from, const std::byte* HWY_RESTRICT x,
                                const float* HWY_RESTRICT y, std::size_t count,
                                const waiting_counts& waiting,
                                std::uint64_t* HWY_RESTRICT buckets) {
  const df32 d;
  vf32 square_error[lane_vectors], abs_error[lane_vectors], square_source[lane_vectors],
      square_decoded[lane_vectors];
  auto max = hn::Zero(d); // one for all lanes: with more, sums would no longer fit the registers
  VIVA_UNROLL(4)
  for (std::size_t v = 0; v < lane_vectors; ++v)
    square_error[v] = abs_error[v] = square_source[v] = square_decoded[v] = hn::Zero(d);
  for (std::size_t i = 0; i < count; i += measure_lanes) {
    prefetch_for_later(x + i * from.bytes + next_run_bytes, measure_lanes * from.bytes);
    VIVA_UNROLL(4)
    for (std::size_t v = 0; v < lane_vectors; ++v) {
      const std::size_t at = i + v * lanes();
      const auto xs = load(from, x + at * from.bytes);
      const auto ys = hn::LoadU(d, y + at);
      const auto e = hn::Sub(xs, ys);
      const auto magnitudes = hn::Abs(e);
      // A product and a sum, each rounded: not every target has a fused one.
      square_error[v] = hn::Add(square_error[v], hn::Mul(e, e));
      abs_error[v] = hn::Add(abs_error[v], magnitudes);
      square_source[v] = hn::Add(square_source[v], hn::Mul(xs, xs));
      square_decoded[v] = hn::Add(square_decoded[v], hn::Mul(ys, ys));
      max = hn::Max(max, magnitudes);
    }
    if constexpr (Counts) {
      static_assert(waiting_counts::beside_a_group == 2);
      count_two(waiting.bucket + i / measure_sampling, buckets);
    }
  }
  piece_sums out;
  fold_lanes(square_error, out.square_error);
  fold_lanes(abs_error, out.abs_error);
  fold_lanes(square_source, out.square_source);
  fold_lanes(square_decoded, out.square_decoded);
  out.max_error = hn::GetLane(hn::MaxOfLanes(d, max));
  return out;
}

/// Stores the buckets of the chosen groups of `count` columns, the last of which may be cut, and
/// says how many: first all buckets, then all counts. With a count right behind each group, loads
/// went ahead of the stores they meet and had to start over, and counting took ten times as long as
/// the sums.
template <class Source>
HWY_INLINE std::size_t store_buckets(Source from, const std::byte* HWY_RESTRICT x,
                                     const float* HWY_RESTRICT y, std::size_t count,
                                     group_choice choice, std::uint16_t* HWY_RESTRICT bucket) {
  std::size_t stored = 0;
  for (std::size_t i = choice.first * measure_lanes; i < count; i += choice.step * measure_lanes) {
    VIVA_UNROLL(4)
    for (std::size_t v = 0; v < lane_vectors; ++v) {
      const std::size_t at = i + v * lanes();
      const auto e = hn::Sub(load(from, x + at * from.bytes), hn::LoadU(df32(), y + at));
      const auto bits = hn::BitCast(du32(), hn::Abs(e));
      store_u16(hn::ShiftRight<magnitude_histogram::bucket_shift>(bits),
                reinterpret_cast<std::byte*>(bucket + stored + v * lanes()));
    }
    stored += std::min(measure_lanes, count - i);
  }
  return stored;
}

HWY_INLINE void count_buckets(const std::uint16_t* HWY_RESTRICT bucket, std::size_t count,
                              std::uint64_t weight, std::uint64_t* HWY_RESTRICT buckets) {
  std::size_t k = 0;
  for (; k + 4 <= count; k += 4) {
    const auto four = load_as<std::uint64_t>(reinterpret_cast<const std::byte*>(bucket + k));
    buckets[four & 0xFFFF] += weight;
    buckets[four >> 16 & 0xFFFF] += weight;
    buckets[four >> 32 & 0xFFFF] += weight;
    buckets[four >> 48] += weight;
  }
  for (; k < count; ++k)
    buckets[bucket[k]] += weight;
}

void count_waiting(waiting_counts& waiting, error_sums& sums) {
  for (std::size_t k = 0; waiting.any && k < waiting_counts::most; k += 2)
    count_two(waiting.bucket + k, sums.errors.counts.data());
  waiting.any = false;
}

/// Measures one piece. `x` and `y` can be read up to a whole group; what lies past `count` is zero.
template <class Source>
HWY_INLINE bool measure_one(Source from, const std::byte* x, const float* y, std::size_t cols,
                            std::size_t column, std::size_t count, std::uint32_t row_bits,
                            row_sums& row, error_sums& sums, waiting_counts& waiting) {
  auto* buckets = sums.errors.counts.data();
  const auto padded = (count + measure_lanes - 1) / measure_lanes * measure_lanes;
  const bool counts = waiting.any && count == measure_piece;
  const auto piece = counts ? sum_piece<true>(from, x, y, measure_piece, waiting, buckets)
                            : sum_piece<false>(from, x, y, padded, waiting, buckets);
  waiting.any = waiting.any && !counts;
  if (HWY_UNLIKELY(!piece.in_range()))
    return false;
  piece.add_to(row);
  sums.count += count;
  sums.max_error = std::max(sums.max_error, piece.max_error);
  const auto choice = choose_groups(cols, column, count, row_bits, piece.even());
  if (choice.weight == measure_sampling) {
    store_buckets(from, x, y, measure_piece, choice, waiting.bucket);
    waiting.any = true;
  } else {
    HWY_ALIGN std::uint16_t bucket[measure_piece];
    count_buckets(bucket, store_buckets(from, x, y, count, choice, bucket), choice.weight, buckets);
  }
  return true;
}

/// One piece that cannot be read in whole groups, or that f32 cannot take: on a copy.
template <class Source>
HWY_NOINLINE void measure_apart(Source from, const std::byte* x, const float* y, std::size_t cols,
                                std::size_t column, std::size_t count, std::uint32_t row_bits,
                                row_sums& row, error_sums& sums, waiting_counts& waiting) {
  HWY_ALIGN float x_copy[measure_piece] = {};
  HWY_ALIGN float y_copy[measure_piece] = {};
  load_f32(x, from.type, count, x_copy);
  std::copy(y, y + count, y_copy);
  if (!measure_one(source<dtype::f32>{}, reinterpret_cast<const std::byte*>(x_copy), y_copy, cols,
                   column, count, row_bits, row, sums, waiting))
    measure_values(x_copy, y_copy, column, count, row, sums);
}

void measure_rows(const matrix& in, const float* y, error_sums& sums) {
  measure_buckets(sums);
  waiting_counts waiting;
  with_source(in.type, [&](auto from) {
    for (std::size_t r = 0; r < in.rows; ++r, y += in.cols) {
      const std::byte* x = in.data + r * in.cols * from.bytes;
      const auto row_bits = bits_of(in.cols == 0 ? 0.0f : value_of(x, from.type, 0));
      row_sums row;
      for (std::size_t column = 0; column < in.cols; column += measure_piece) {
        const auto count = std::min(measure_piece, in.cols - column);
        const std::byte* at = x + column * from.bytes;
        if (count % measure_lanes != 0
            || !measure_one(from, at, y + column, in.cols, column, count, row_bits, row, sums,
                            waiting))
          measure_apart(from, at, y + column, in.cols, column, count, row_bits, row, sums, waiting);
      }
      measure_close(row, sums);
    }
  });
  count_waiting(waiting, sums);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(measure_rows);

void measure_simd(const matrix& x, const float* y, error_sums& sums) {
  HWY_DYNAMIC_DISPATCH(measure_rows)(x, y, sums);
}

std::uint64_t* measure_buckets(error_sums& sums) {
  if (sums.errors.counts.empty())
    sums.errors.counts.resize(magnitude_histogram::bucket_count);
  return sums.errors.counts.data();
}

// -- rules --------------------------------------------------------------------------------------

void measure_values(const float* x, const float* y, std::size_t column, std::size_t count,
                    row_sums& row, error_sums& sums) {
  auto* buckets = measure_buckets(sums);
  for (std::size_t i = 0; i < count; ++i) {
    float e = 0;
    if (!measure_value(x[i], y[i], column + i, row, e)) {
      ++sums.not_finite;
      continue;
    }
    ++buckets[magnitude_histogram::bucket_of(e)];
    ++sums.count;
    sums.max_error = std::max(sums.max_error, magnitude(e));
  }
}

void measure_close(const row_sums& row, error_sums& sums) {
  sums.square_error.add(row_total(row.square_error));
  sums.abs_error.add(row_total(row.abs_error));
  sums.square_source.add(row_total(row.square_source));
  sums.square_decoded.add(row_total(row.square_decoded));
  sums.product.add(row_total(row.product));
}

// -- reference ----------------------------------------------------------------------------------

namespace {

using lane_sums = std::array<float, measure_lanes>;

piece_sums::lane_array folded(lane_sums lanes) {
  for (std::size_t width = 8; width >= 4; width /= 2)
    for (std::size_t i = 0; i < width; ++i)
      lanes[i] += lanes[i + width];
  return {lanes[0], lanes[1], lanes[2], lanes[3]};
}

piece_sums sum_piece_reference(const float* x, const float* y, std::size_t count) {
  lane_sums square_error{}, abs_error{}, square_source{}, square_decoded{};
  piece_sums out;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t lane = i % measure_lanes;
    const float e = x[i] - y[i];
    square_error[lane] += e * e;
    abs_error[lane] += magnitude(e);
    square_source[lane] += x[i] * x[i];
    square_decoded[lane] += y[i] * y[i];
    out.max_error = std::max(out.max_error, magnitude(e));
  }
  out.square_error = folded(square_error);
  out.abs_error = folded(abs_error);
  out.square_source = folded(square_source);
  out.square_decoded = folded(square_decoded);
  return out;
}

void measure_piece_reference(const float* x, const float* y, std::size_t cols, std::size_t column,
                             std::size_t count, std::uint32_t row_bits, row_sums& row,
                             error_sums& sums) {
  const auto piece = sum_piece_reference(x, y, count);
  if (!piece.in_range()) {
    measure_values(x, y, column, count, row, sums);
    return;
  }
  piece.add_to(row);
  sums.count += count;
  sums.max_error = std::max(sums.max_error, piece.max_error);
  const auto choice = choose_groups(cols, column, count, row_bits, piece.even());
  for (std::size_t i = 0; i < count; ++i)
    if (i / measure_lanes % choice.step == choice.first)
      measure_buckets(sums)[magnitude_histogram::bucket_of(x[i] - y[i])] += choice.weight;
}

} // namespace

void measure_reference(const matrix& in, const float* y, error_sums& sums) {
  measure_buckets(sums);
  std::array<float, measure_piece> x;
  for (std::size_t r = 0; r < in.rows; ++r) {
    const std::size_t first = r * in.cols;
    row_sums row;
    for (std::size_t column = 0; column < in.cols; column += measure_piece) {
      const auto count = std::min(measure_piece, in.cols - column);
      for (std::size_t i = 0; i < count; ++i)
        x[i] = value_of(in, first + column + i);
      measure_piece_reference(x.data(), y + first + column, in.cols, column, count,
                              bits_of(value_of(in, first)), row, sums);
    }
    measure_close(row, sums);
  }
}

} // namespace viva::kernels
#endif
