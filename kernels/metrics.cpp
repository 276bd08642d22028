#include "kernels/metrics.hpp"

#include "kernels/bytes.hpp"
#include "kernels/convert.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace viva::kernels {

// -- histogram ----------------------------------------------------------------------------------

namespace {

float bucket_middle(std::size_t bucket) noexcept {
  if (bucket == 0)
    return 0; // zero and what rounds to it
  constexpr int shift = magnitude_histogram::bucket_shift;
  return float_of(static_cast<std::uint32_t>(bucket) << shift | 1u << (shift - 1));
}

} // namespace

void magnitude_histogram::merge(const magnitude_histogram& other) {
  if (counts.size() < other.counts.size())
    counts.resize(other.counts.size());
  for (std::size_t i = 0; i < other.counts.size(); ++i)
    counts[i] += other.counts[i];
}

double magnitude_histogram::quantile(double q) const noexcept {
  std::uint64_t total = 0;
  for (const auto n : counts)
    total += n;
  if (total == 0)
    return 0;
  const auto wanted = std::max(1.0, std::ceil(q * static_cast<double>(total)));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    seen += counts[i];
    if (static_cast<double>(seen) >= wanted)
      return static_cast<double>(bucket_middle(i));
  }
  return 0;
}

std::uint64_t magnitude_histogram::above(double magnitude) const noexcept {
  const auto limit = std::min(magnitude, double{std::numeric_limits<float>::max()});
  std::uint64_t result = 0;
  for (auto i = bucket_of(static_cast<float>(limit)) + 1; i < counts.size(); ++i)
    result += counts[i];
  return result;
}

// -- sums ---------------------------------------------------------------------------------------

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

// The journal's form: version, integers as varints, every exact sum as a mask of its limbs that are
// not zero and those limbs, the histogram as (gap, count) pairs, and FNV-1a over all of it.
namespace {

/// 1 added in f64 and counted every value, 2 added the products of pieces.
constexpr std::uint8_t sums_version = 3;

void put_sum(std::string& out, const exact_sum& sum) {
  const auto limbs = sum.canonical();
  std::uint64_t mask = 0;
  for (std::size_t i = 0; i < limbs.size(); ++i)
    mask |= std::uint64_t{limbs[i] != 0} << i;
  put_varint(out, mask);
  for (const auto limb : limbs)
    if (limb != 0)
      put_varint(out, static_cast<std::uint64_t>(limb));
}

bool take_sum(std::string_view& in, exact_sum& sum) {
  std::uint64_t mask = 0;
  if (!take_varint(in, mask) || mask >> exact_sum::limb_count != 0)
    return false;
  std::array<std::int64_t, exact_sum::limb_count> limbs{};
  for (std::size_t i = 0; i < limbs.size(); ++i) {
    std::uint64_t limb = 0;
    if ((mask >> i & 1) != 0 && !take_varint(in, limb))
      return false;
    limbs[i] = static_cast<std::int64_t>(limb);
  }
  sum = exact_sum::from_canonical(limbs);
  return true;
}

bool take_histogram(std::string_view& in, magnitude_histogram& histogram) {
  std::uint64_t pairs = 0;
  if (!take_varint(in, pairs) || pairs > magnitude_histogram::bucket_count)
    return false;
  if (pairs != 0)
    histogram.counts.assign(magnitude_histogram::bucket_count, 0);
  std::uint64_t bucket = 0;
  for (std::uint64_t i = 0; i < pairs; ++i) {
    std::uint64_t gap = 0;
    std::uint64_t n = 0;
    if (!take_varint(in, gap) || !take_varint(in, n) || gap > magnitude_histogram::bucket_count)
      return false;
    bucket += gap;
    if (bucket >= magnitude_histogram::bucket_count)
      return false;
    histogram.counts[bucket] += n;
  }
  return true;
}

} // namespace

std::string error_sums::encode() const {
  std::string out(1, static_cast<char>(sums_version));
  put_varint(out, count);
  put_varint(out, not_finite);
  put_varint(out, bits_of(max_error));
  for (const auto* sum : {&square_error, &abs_error, &square_source, &square_decoded, &product})
    put_sum(out, *sum);
  std::string pairs;
  std::uint64_t pairs_count = 0;
  std::size_t last = 0;
  for (std::size_t i = 0; i < errors.counts.size(); ++i)
    if (errors.counts[i] != 0) {
      put_varint(pairs, i - last);
      put_varint(pairs, errors.counts[i]);
      last = i;
      ++pairs_count;
    }
  put_varint(out, pairs_count);
  out += pairs;
  put_u64(out, fnv1a(out));
  return out;
}

bool error_sums::decode(std::string_view bytes, error_sums& out) {
  std::string_view in = bytes;
  if (in.size() < 9 || static_cast<std::uint8_t>(in.front()) != sums_version)
    return false;
  in = in.substr(1, in.size() - 9);
  error_sums sums;
  std::uint64_t max_bits = 0;
  if (!take_varint(in, sums.count) || !take_varint(in, sums.not_finite)
      || !take_varint(in, max_bits) || max_bits >= infinity_bits)
    return false;
  sums.max_error = float_of(static_cast<std::uint32_t>(max_bits));
  for (auto* sum : {&sums.square_error, &sums.abs_error, &sums.square_source, &sums.square_decoded,
                    &sums.product})
    if (!take_sum(in, *sum))
      return false;
  if (!take_histogram(in, sums.errors) || !in.empty())
    return false;
  if (sums.encode() != bytes) // the checksum, and every way of writing the same sums otherwise
    return false;
  out = std::move(sums);
  return true;
}

// -- report -------------------------------------------------------------------------------------

metrics finish(const error_sums& sums) {
  metrics m;
  m.count = sums.count;
  m.not_finite = sums.not_finite;
  if (sums.count == 0)
    return m;
  const double n = static_cast<double>(sums.count);
  const double error = sums.square_error.value();
  const double source = sums.square_source.value();
  const double decoded = sums.square_decoded.value();
  constexpr double infinity = std::numeric_limits<double>::infinity();
  m.mse = error / n;
  m.rmse = std::sqrt(m.mse);
  m.mae = sums.abs_error.value() / n;
  m.max_error = static_cast<double>(sums.max_error);
  for (const auto& [place, q] : {std::pair{&m.p50, 0.5}, std::pair{&m.p90, 0.9},
                                 std::pair{&m.p99, 0.99}, std::pair{&m.p999, 0.999}})
    *place = std::min(sums.errors.quantile(q), m.max_error);
  if (source > 0 && decoded > 0)
    m.cosine = sums.product.value() / (std::sqrt(source) * std::sqrt(decoded));
  else
    m.cosine = source == decoded ? 1 : 0;
  m.snr_db = error > 0 ? 10 * std::log10(source / error) : infinity;
  m.rel_rms = error == 0 ? 0 : source > 0 ? std::sqrt(error / source) : infinity;
  m.outliers = sums.errors.above(4 * m.rmse);
  return m;
}

metrics compute_all(const matrix& x, const float* y) {
  error_sums sums;
  measure_simd(x, y, sums);
  return finish(sums);
}

} // namespace viva::kernels
