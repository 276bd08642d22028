// The truth that attention is tested against: every score in double, kept whole.

#include "kernels/attention.hpp"
#include "kernels/scalar.hpp"

#include <cmath>
#include <limits>
#include <vector>

namespace viva::kernels::attention {

namespace {

constexpr double minus_infinity = -std::numeric_limits<double>::infinity();

bool visible(const shape& of, std::size_t query, std::size_t key) {
  const auto all = static_cast<std::ptrdiff_t>(of.keys + of.keys_after);
  const auto p = static_cast<std::ptrdiff_t>(query) + all - static_cast<std::ptrdiff_t>(of.queries);
  const auto j = static_cast<std::ptrdiff_t>(key);
  const auto window = static_cast<std::ptrdiff_t>(of.reach());
  return (!of.causal || j <= p) && (window == 0 || (p - j < window && j - p < window));
}

double value(const source_rows& rows, std::size_t b, std::size_t h, std::size_t i, std::size_t c) {
  return static_cast<double>(value_of(rows.at(b, h, i), rows.type, c));
}

/// k or v as numbers: itself, or all of it decoded into `values`.
status decode_all(source_rows& side, std::vector<float>& values) {
  if (side.encoded == nullptr)
    return {};
  const auto& from = *side.encoded;
  values.resize(from.rows_count * from.cols);
  const auto planes = from.how.row->shape(from.how, from.cols).planes_count;
  const std::size_t row = from.cols * sizeof(float), skipped = side.skipped;
  side = {reinterpret_cast<const std::byte*>(values.data()), dtype::f32,
          strides{from.rows.sequence * row,
                  from.rows.head * row + from.head_columns * sizeof(float), from.rows.row * row}};
  side.skipped = skipped;
  return from.how.row->decode_reference(from.how, from.rows_count, from.cols, from.numbers,
                                        {from.planes.data(), planes}, values.data());
}

/// The scores of one query, hidden ones -inf.
std::vector<double> scores_of(const shape& of, const inputs& in, std::size_t b, std::size_t h,
                              std::size_t i) {
  const double scale = of.scale != 0 ? static_cast<double>(of.scale)
                                     : 1 / std::sqrt(static_cast<double>(of.head_size));
  std::vector<double> scores(of.keys, minus_infinity);
  for (std::size_t j = 0; j < of.keys; ++j) {
    if (!visible(of, i, j))
      continue;
    double dot = 0;
    for (std::size_t c = 0; c < of.head_size; ++c)
      dot += value(in.q, b, h, i, c) * value(in.k, b, h / (of.heads / of.kv_heads), j, c);
    const auto* bias = in.bias.data;
    const double by =
        bias != nullptr ? static_cast<double>(bias[in.bias.values.at(b, h, i) + j]) : 0.0;
    scores[j] = by == minus_infinity ? by : scale * dot + by;
  }
  return scores;
}

} // namespace

status attend_reference(const shape& of, inputs in, double* out, double* lse) {
  std::vector<float> keys, values;
  if (const auto done = decode_all(in.k, keys); !done)
    return done;
  if (const auto done = decode_all(in.v, values); !done)
    return done;
  for (std::size_t b = 0; b < of.batch; ++b)
    for (std::size_t h = 0; h < of.heads; ++h)
      for (std::size_t i = 0; i < of.queries; ++i) {
        const auto scores = scores_of(of, in, b, h, i);
        double max = minus_infinity;
        for (const double s : scores)
          max = s > max ? s : max;
        const std::size_t row = (b * of.heads + h) * of.queries + i;
        double sum = 0;
        std::vector<double> total(of.head_size, 0.0);
        for (std::size_t j = 0; j < of.keys; ++j) {
          const double p = scores[j] == minus_infinity ? 0 : std::exp(scores[j] - max);
          sum += p;
          for (std::size_t c = 0; p != 0 && c < of.head_size; ++c)
            total[c] += p * value(in.v, b, h / (of.heads / of.kv_heads), j, c);
        }
        for (std::size_t c = 0; c < of.head_size; ++c)
          out[row * of.head_size + c] = sum == 0 ? 0 : total[c] / sum;
        if (lse != nullptr)
          lse[row] = sum == 0 ? minus_infinity : max + std::log(sum);
      }
  return {};
}

} // namespace viva::kernels::attention
