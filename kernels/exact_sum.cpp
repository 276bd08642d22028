#include "kernels/exact_sum.hpp"

#include <cmath>
#include <cstddef>

namespace viva::kernels {
namespace {

constexpr int bias = 320;                             // limb 0 weighs 2^-320
constexpr std::uint32_t addends_per_carry = 1u << 29; // |limb| stays below 2^29 * 2^32 + 2^32
constexpr std::int64_t limb_mask = 0xffffffff;

} // namespace

void exact_sum::add(double x) noexcept {
  if (x == 0 || !std::isfinite(x))
    return;
  int exponent = 0;
  const double fraction = std::frexp(std::fabs(x), &exponent);
  auto mantissa = static_cast<std::uint64_t>(std::ldexp(fraction, 53));
  int position = exponent - 53 + bias;
  if (exponent > bias) { // clamped to the largest double below 2^320
    mantissa = (std::uint64_t{1} << 53) - 1;
    position = 2 * bias - 53;
  }
  if (position < 0) {
    if (position <= -53)
      return;
    mantissa >>= -position;
    position = 0;
  }
  const auto limb = static_cast<std::size_t>(position / 32);
  __extension__ using wide = unsigned __int128;
  const wide shifted = wide{mantissa} << (position % 32);
  const std::int64_t sign = x < 0 ? -1 : 1;
  for (std::size_t i = 0; i < 3; ++i)
    x_limbs[limb + i]
      += sign * static_cast<std::int64_t>(static_cast<std::uint64_t>(shifted >> (32 * i)) & limb_mask);
  if (++x_pending == addends_per_carry)
    carry();
}

void exact_sum::carry() noexcept {
  for (std::size_t i = 0; i + 1 < limb_count; ++i) {
    x_limbs[i + 1] += x_limbs[i] >> 32; // arithmetic shift: floor
    x_limbs[i] &= limb_mask;
  }
  x_pending = 0;
}

void exact_sum::merge(const exact_sum& other) noexcept {
  carry();
  const auto limbs = other.canonical();
  for (std::size_t i = 0; i < limb_count; ++i)
    x_limbs[i] += limbs[i];
  carry();
}

std::array<std::int64_t, exact_sum::limb_count> exact_sum::canonical() const noexcept {
  auto copy = *this;
  copy.carry();
  return copy.x_limbs;
}

exact_sum
exact_sum::from_canonical(const std::array<std::int64_t, limb_count>& limbs) noexcept {
  exact_sum result;
  result.x_limbs = limbs;
  result.carry();
  return result;
}

double exact_sum::value() const noexcept {
  auto limbs = canonical();
  const bool negative = limbs[limb_count - 1] < 0;
  if (negative) {
    for (auto& limb : limbs)
      limb = -limb;
    limbs = from_canonical(limbs).canonical();
  }
  int top = limb_count - 1;
  while (top >= 0 && limbs[static_cast<std::size_t>(top)] == 0)
    --top;
  if (top < 0)
    return 0;
  // Three limbs hold at least 65 significant bits; what lies below them only matters as one
  // sticky bit, so the conversion to double rounds once.
  __extension__ using wide = unsigned __int128;
  wide head = 0;
  for (int i = top; i > top - 3; --i)
    head = head << 32 | (i >= 0 ? static_cast<std::uint64_t>(limbs[static_cast<std::size_t>(i)]) : 0);
  for (int i = top - 3; i >= 0; --i)
    if (limbs[static_cast<std::size_t>(i)] != 0) {
      head |= 1;
      break;
    }
  const double magnitude = std::ldexp(static_cast<double>(head), 32 * (top - 2) - bias);
  return negative ? -magnitude : magnitude;
}

} // namespace viva::kernels
