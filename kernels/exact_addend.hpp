#pragma once

// Where exact_sum.hpp adds a double: integers, so a device may add in any order, too.

#include "kernels/portability.hpp"

#include <bit>
#include <cstdint>

namespace viva::kernels {

/// Where a double goes among the limbs: `parts[i]` is added to limb `limb + i`. All parts are zero
/// for what is ignored.
struct exact_addend {
  std::int64_t parts[3] = {};
  int limb = 0;
};

/// One rule for host and device, so that their sums are the same.
VIVA_HD inline exact_addend exact_addend_of(double x) noexcept {
  constexpr int exponent_lowest = -320; // limb 0 weighs 2^-320
  constexpr int shift_max = 587;        // 53 bits so far up end just below 2^320
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const int field = static_cast<int>((bits >> 52) & 0x7FF);
  if (field == 0x7FF || field == 0) // not finite, or below 2^-1022
    return {};
  std::uint64_t mantissa = (bits & ((std::uint64_t{1} << 52) - 1)) | std::uint64_t{1} << 52;
  int shift = field - 1075 - exponent_lowest; // the addend is mantissa 2^shift units of limb 0
  if (shift < 0) {
    mantissa = shift <= -64 ? 0 : mantissa >> -shift;
    shift = 0;
  } else if (shift > shift_max) {
    mantissa = (std::uint64_t{1} << 53) - 1;
    shift = shift_max;
  }
  const int by = shift % 32;
  const std::uint64_t low = mantissa << by; // of at most 84 bits, the lower 64 and the upper 20
  const std::uint64_t high = by == 0 ? 0 : mantissa >> (64 - by);
  const std::int64_t sign = (bits >> 63) != 0 ? -1 : 1;
  return {{sign * static_cast<std::int64_t>(low & 0xFFFFFFFFu),
           sign * static_cast<std::int64_t>(low >> 32), sign * static_cast<std::int64_t>(high)},
          shift / 32};
}

} // namespace viva::kernels
