#pragma once

// Roll call: results by the numbers of their tensors. Each number has to come once, and good.

#include <cstdint>
#include <vector>

namespace viva::bench {

class roll_call {
public:
  /// Of numbers below `count`.
  explicit roll_call(std::uint64_t count) : x_count(count), x_seen((count + 63) / 64) {
  }
  void note(std::uint64_t number, bool good) {
    const auto bit = std::uint64_t{1} << number % 64;
    if (number >= x_count || (x_seen[number / 64] & bit) != 0) {
      ++x_surplus;
      return;
    }
    x_seen[number / 64] |= bit;
    x_came += good;
  }
  /// Numbers that did not come, or bad, and results beyond the first of a number or of none.
  std::uint64_t wrong() const {
    return x_count - x_came + x_surplus;
  }

private:
  const std::uint64_t x_count;
  std::vector<std::uint64_t> x_seen;
  std::uint64_t x_came = 0, x_surplus = 0;
};

} // namespace viva::bench
