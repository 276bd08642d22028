#pragma once

// Latency: how long things took, counted so that counts of many lanes add up.

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>

namespace viva::actors {

/// Log-linear counts of nanoseconds, 8 buckets an octave: a quantile is off by at most 6 %, from
/// 8 ns to an hour. Two of them merge exactly.
class latency_histogram {
public:
  static constexpr std::size_t bucket_count = 8 * 40;

  /// `times`: so many had this latency.
  void add(std::chrono::nanoseconds time, std::uint64_t times = 1) noexcept {
    x_counts[index(time)] += times;
    x_sum_ns += static_cast<std::uint64_t>(time.count()) * times;
  }
  void merge(const latency_histogram& other) noexcept {
    for (std::size_t i = 0; i < bucket_count; ++i)
      x_counts[i] += other.x_counts[i];
    x_sum_ns += other.x_sum_ns;
  }
  std::uint64_t count() const noexcept;
  double sum_seconds() const noexcept {
    return static_cast<double>(x_sum_ns) * 1e-9;
  }
  /// Milliseconds of the q-quantile; 0 without entries.
  double quantile_ms(double q) const noexcept;

private:
  friend class shared_histogram;
  static std::size_t index(std::chrono::nanoseconds time) noexcept {
    const auto ns = static_cast<std::uint64_t>(std::max(time.count(), std::int64_t{0}));
    if (ns < 8)
      return ns;
    const auto octave = static_cast<std::size_t>(std::bit_width(ns)) - 3; // >= 1
    return std::min(8 * octave + (ns >> (octave - 1) & 7), bucket_count - 1);
  }
  std::array<std::uint64_t, bucket_count> x_counts{};
  std::uint64_t x_sum_ns = 0;
};

} // namespace viva::actors
