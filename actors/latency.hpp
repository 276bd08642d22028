#pragma once

// Latency: how long things took, counted so that counts of many lanes add up.

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>

namespace viva::actors {

/// Log-linear counts of microseconds, 8 buckets an octave: a quantile is off by at most 6 %. Two of
/// them merge exactly.
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
    const auto us = static_cast<std::uint64_t>(time.count() / 1000);
    if (us < 8)
      return us;
    const auto octave = static_cast<std::size_t>(std::bit_width(us)) - 3; // >= 1
    return std::min(8 * octave + (us >> (octave - 1) & 7), bucket_count - 1);
  }
  std::array<std::uint64_t, bucket_count> x_counts{};
  std::uint64_t x_sum_ns = 0;
};

} // namespace viva::actors
