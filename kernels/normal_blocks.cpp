#include "kernels/normal_blocks.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

namespace viva::kernels::normal_theory {

namespace {

/// Largest magnitude to integrate to: those of 2^40 normal values lie below.
constexpr double normal_max = 8;
/// Extremes this much less likely than the likeliest do not count.
constexpr double unlikely = 1e-6;

double phi(double x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}
double phi_inside(double a) {
  return std::erf(a / std::numbers::sqrt2);
}

/// P(x < `limit`).
double below(const population& from, double limit) {
  return (1 + std::copysign(from.inside(std::abs(limit)), limit)) / 2;
}

/// How finely to integrate: between extremes, and over them. Several ways take so much time each
/// that they have wider steps.
struct fineness {
  int between;
  double extremes;
};

/// Means and covariances of what a block errs by each way.
struct ways_errors {
  std::array<double, ways_max> mean{};
  std::array<std::array<double, ways_max>, ways_max> covariance{};
};

/// The expected least of jointly normal errors.
double least_of(const ways_errors& all, std::size_t ways) {
  double mean = all.mean[0], variance = all.covariance[0][0];
  auto with = all.covariance[0]; // covariances of the least so far
  for (std::size_t k = 1; k < ways; ++k) {
    const double other = all.mean[k], its_variance = all.covariance[k][k];
    const double s = std::sqrt(std::max(0.0, variance + its_variance - 2 * with[k]));
    if (s < 1e-12) // the same way twice
      continue;
    const double r = (other - mean) / s;
    const double first = below(normal, r), second = 1 - first, both = s * phi(r);
    const double square = (mean * mean + variance) * first + (other * other + its_variance) * second
                          - (mean + other) * both;
    for (std::size_t j = 0; j < ways; ++j)
      with[j] = with[j] * first + all.covariance[k][j] * second;
    mean = mean * first + other * second - both;
    variance = std::max(0.0, square - mean * mean);
  }
  return mean;
}

/// Means and covariances of the errors of one value between lo and hi.
ways_errors of_one(const population& from, double lo, double hi, int steps, std::size_t ways,
                   const decoded_fn& decode) {
  ways_errors one;
  std::array<double, ways_max> error{};
  for_values_between(from, lo, hi, steps, [&](double x, double weight) {
    decode(x, std::span(error).first(ways));
    for (std::size_t k = 0; k < ways; ++k) {
      error[k] = (x - error[k]) * (x - error[k]);
      one.mean[k] += weight * error[k];
      if (ways > 1)
        for (std::size_t j = 0; j <= k; ++j)
          one.covariance[k][j] += weight * error[k] * error[j];
    }
  });
  for (std::size_t k = 0; k < ways; ++k)
    for (std::size_t j = 0; j <= k; ++j)
      one.covariance[j][k] = one.covariance[k][j] -= one.mean[k] * one.mean[j];
  return one;
}

/// What a block of `others` values between lo and hi and of the values `ends` errs by its best way.
double of_block(const population& from, double lo, double hi, double others,
                std::span<const double> ends, int steps, std::size_t ways,
                const decoded_fn& decode) {
  auto sums = of_one(from, lo, hi, steps, ways, decode);
  for (std::size_t k = 0; k < ways; ++k) {
    sums.mean[k] *= others;
    for (std::size_t j = 0; j < ways; ++j)
      sums.covariance[k][j] *= others;
  }
  std::array<double, ways_max> decoded{};
  for (const double x : ends) {
    decode(x, std::span(decoded).first(ways));
    for (std::size_t k = 0; k < ways; ++k)
      sums.mean[k] += (x - decoded[k]) * (x - decoded[k]);
  }
  return least_of(sums, ways);
}

/// Extremes of a block and how likely they are.
struct extremes {
  double lo, hi, weight;
};

/// Sum of weight * error(lo, hi) by sum of weights.
double expected_over(const std::vector<extremes>& all,
                     const std::function<double(double lo, double hi)>& error) {
  const auto likeliest = std::ranges::max(all, {}, &extremes::weight).weight;
  double sum = 0, weights = 0;
  for (const auto& each : all) {
    if (each.weight < likeliest * unlikely)
      continue;
    sum += each.weight * error(each.lo, each.hi);
    weights += each.weight;
  }
  return sum / weights;
}

double kept_density(double x) {
  const double f = phi_inside(std::abs(x));
  return phi(x) * f * f * (6 - 4 * f);
}
double kept_inside(double a) {
  const double f = phi_inside(a);
  return f * f * f * (2 - f);
}

} // namespace

const population normal{phi, phi_inside};
const population kept_of_four{kept_density, kept_inside};

void for_values_between(const population& from, double lo, double hi, int steps,
                        const std::function<void(double x, double weight)>& body) {
  const double step = (hi - lo) / steps;
  std::vector<double> densities;
  double mass = 0;
  for (int i = 0; i < steps; ++i) {
    densities.push_back(from.density(lo + (i + 0.5) * step));
    mass += densities.back();
  }
  for (int i = 0; i < steps; ++i)
    body(lo + (i + 0.5) * step, densities[static_cast<std::size_t>(i)] / mass);
}

double error_by_magnitude(const population& from, std::uint64_t block, std::size_t ways,
                          const std::function<decoded_fn(double a)>& encoder) {
  const auto fine = ways == 1 ? fineness{4000, 0.01} : fineness{500, 0.02};
  const double n = static_cast<double>(block);
  std::vector<extremes> all;
  for (double a = fine.extremes / 2; a < normal_max; a += fine.extremes)
    all.push_back({-a, a, from.density(a) * std::pow(from.inside(a), n - 1)});
  return expected_over(all,
                       [&](double lo, double a) {
                         const double ends[] = {a};
                         return of_block(from, lo, a, n - 1, ends, fine.between, ways, encoder(a));
                       })
         / n;
}

double error_by_range(const population& from, std::uint64_t block, std::size_t ways,
                      const std::function<decoded_fn(double lo, double hi)>& encoder) {
  const auto fine = ways == 1 ? fineness{1500, 0.1} : fineness{300, 0.1};
  const double n = static_cast<double>(block);
  std::vector<extremes> all;
  for (double lo = fine.extremes / 2 - normal_max; lo < normal_max; lo += fine.extremes)
    for (double hi = lo + fine.extremes; hi < normal_max; hi += fine.extremes)
      all.push_back({lo, hi,
                     from.density(lo) * from.density(hi)
                         * std::pow(below(from, hi) - below(from, lo), n - 2)});
  return expected_over(all,
                       [&](double lo, double hi) {
                         const double ends[] = {lo, hi};
                         return of_block(from, lo, hi, n - 2, ends, fine.between, ways,
                                         encoder(lo, hi));
                       })
         / n;
}

} // namespace viva::kernels::normal_theory
