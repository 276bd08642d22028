#include "kernels/exact_sum.hpp"

#include "kernels/exact_addend.hpp"

#include <bit>
#include <cmath>
#include <cstddef>

namespace viva::kernels {

namespace {

__extension__ using uint128 = unsigned __int128;

constexpr int exponent_lowest = -320; ///< Limb 0 weighs 2^-320.
constexpr std::int64_t limb_mask = 0xFFFFFFFF;
constexpr std::uint32_t addends_per_carry = 1u << 30; ///< |limb| stays below 2^63 for so many.

} // namespace

void exact_sum::add(double x) noexcept {
  const auto addend = exact_addend_of(x);
  const auto limb = static_cast<std::size_t>(addend.limb);
  x_limbs[limb] += addend.parts[0];
  x_limbs[limb + 1] += addend.parts[1];
  x_limbs[limb + 2] += addend.parts[2];
  if (++x_pending == addends_per_carry)
    carry();
}

void exact_sum::carry() noexcept {
  std::int64_t over = 0;
  for (std::size_t i = 0; i + 1 < x_limbs.size(); ++i) {
    const std::int64_t limb = x_limbs[i] + over;
    x_limbs[i] = limb & limb_mask;
    over = limb >> 32; // floors
  }
  x_limbs.back() += over;
  x_pending = 0;
}

void exact_sum::merge(const exact_sum& other) noexcept {
  carry();
  const auto limbs = other.canonical();
  for (std::size_t i = 0; i < limbs.size(); ++i)
    x_limbs[i] += limbs[i];
  carry();
}

std::array<std::int64_t, exact_sum::limb_count> exact_sum::canonical() const noexcept {
  exact_sum copy = *this;
  copy.carry();
  return copy.x_limbs;
}

exact_sum exact_sum::from_canonical(const std::array<std::int64_t, limb_count>& limbs) noexcept {
  exact_sum sum;
  sum.x_limbs = limbs;
  return sum;
}

double exact_sum::value() const noexcept {
  auto limbs = canonical();
  const bool negative = limbs.back() < 0;
  if (negative) {
    exact_sum opposite;
    for (std::size_t i = 0; i < limbs.size(); ++i)
      opposite.x_limbs[i] = -limbs[i];
    limbs = opposite.canonical();
  }
  int top = limb_count - 1;
  while (top > 0 && limbs[static_cast<std::size_t>(top)] == 0)
    --top;
  const auto limb_at = [&](int i) {
    return i < 0 ? 0 : static_cast<std::uint64_t>(limbs[static_cast<std::size_t>(i)]);
  };
  // The leading 64 bits, and whether anything is below them, decide the one rounding.
  const auto wide = static_cast<uint128>(limb_at(top)) << 64
                    | static_cast<uint128>(limb_at(top - 1)) << 32 | limb_at(top - 2);
  if (wide == 0)
    return 0;
  const auto high = static_cast<std::uint64_t>(wide >> 64);
  const int lead =
      high != 0 ? std::countl_zero(high) : 64 + std::countl_zero(static_cast<std::uint64_t>(wide));
  const uint128 aligned = wide << lead;
  bool sticky = static_cast<std::uint64_t>(aligned) != 0;
  for (int i = top - 3; i >= 0 && !sticky; --i)
    sticky = limb_at(i) != 0;
  const auto leading = static_cast<std::uint64_t>(aligned >> 64);
  const std::uint64_t rest = leading & 0x7FF;
  std::uint64_t mantissa = leading >> 11;
  if (rest > 0x400 || (rest == 0x400 && (sticky || (mantissa & 1) != 0)))
    ++mantissa;
  // `wide` counts units of limb top - 2; of `aligned`, 64 + 11 bits went.
  const int exponent = 32 * (top - 2) + exponent_lowest + 75 - lead;
  const double magnitude = std::ldexp(static_cast<double>(mantissa), exponent);
  return negative ? -magnitude : magnitude;
}

} // namespace viva::kernels
