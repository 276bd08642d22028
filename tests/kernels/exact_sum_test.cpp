#include "kernels/exact_sum.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace viva::kernels::testing {

namespace {

__extension__ using int128 = __int128;

/// `count` doubles of `bits` mantissa bits over 60 binary orders of magnitude.
std::vector<double> addends(std::size_t count, std::uint32_t seed) {
  std::mt19937_64 random(seed);
  std::vector<double> all(count);
  for (auto& x : all) {
    x = std::ldexp(static_cast<double>(random() >> 11), static_cast<int>(random() % 60) - 53);
    x = random() % 2 != 0 ? x : -x;
  }
  return all;
}

double sum_of(const std::vector<double>& all) {
  exact_sum sum;
  for (const double x : all)
    sum.add(x);
  return sum.value();
}

} // namespace

TEST_CASE("an exact sum is the true sum, rounded once", "[exact_sum]") {
  for (std::uint32_t seed = 0; seed < 200; ++seed) {
    const auto all = addends(200, seed);
    int128 truth = 0; // in units of 2^-53
    for (const double x : all)
      truth += static_cast<int128>(std::ldexp(x, 53));
    REQUIRE(sum_of(all) == std::ldexp(static_cast<double>(truth), -53));
  }
}

TEST_CASE("the order of adding, and the cut into parts, change no bit", "[exact_sum]") {
  auto all = addends(3000, 7);
  exact_sum whole;
  for (const double x : all)
    whole.add(x);
  std::shuffle(all.begin(), all.end(), std::mt19937(3));
  exact_sum merged;
  for (std::size_t first = 0; first < all.size(); first += 700) {
    exact_sum part;
    for (std::size_t i = first; i < std::min(first + 700, all.size()); ++i)
      part.add(all[i]);
    merged.merge(part);
  }
  REQUIRE(merged == whole);
  REQUIRE(merged.canonical() == whole.canonical());
  REQUIRE(exact_sum::from_canonical(whole.canonical()).value() == whole.value());
}

TEST_CASE("what cancels leaves nothing behind", "[exact_sum]") {
  exact_sum sum;
  for (const double x : {0x1p255, 1.0, -0x1p255, 0x1p-298, -1.0})
    sum.add(x);
  REQUIRE(sum.value() == 0x1p-298);
  sum.add(-0x1p-298);
  REQUIRE(sum.value() == 0.0);
  REQUIRE(sum == exact_sum{});
  sum.add(-3.0);
  REQUIRE(sum.value() == -3.0);
}

TEST_CASE("a sum rounds half to even, and anything beyond half upwards", "[exact_sum]") {
  const double one = 1.0;
  const double half_ulp = 0x1p-53;
  REQUIRE(sum_of({one, half_ulp}) == one);
  REQUIRE(sum_of({one, half_ulp, 0x1p-300}) == one + 0x1p-52);
  REQUIRE(sum_of({one + 0x1p-52, half_ulp}) == one + 0x1p-51);
  REQUIRE(sum_of({-one, -half_ulp, -0x1p-300}) == -one - 0x1p-52);
  REQUIRE(sum_of({0x1.fffffffffffffp0, half_ulp}) == 2.0); // the carry runs through the mantissa
}

TEST_CASE("addends outside the range are clamped or dropped, and what is no number is ignored",
          "[exact_sum]") {
  REQUIRE(sum_of({0x1p-321}) == 0.0);
  REQUIRE(sum_of({0x1p-320}) == 0x1p-320);
  REQUIRE(sum_of({0x1.8p-320}) == 0x1p-320);
  REQUIRE(sum_of({0x1p-400, 5e-324}) == 0.0);
  REQUIRE(sum_of({0x1p500}) == 0x1.fffffffffffffp319);
  REQUIRE(sum_of({-0x1p320}) == -0x1.fffffffffffffp319);
  REQUIRE(sum_of({std::numeric_limits<double>::quiet_NaN(), 2.0,
                  -std::numeric_limits<double>::infinity()})
          == 2.0);
}

TEST_CASE("a billion addends of one sign do not overflow a limb", "[exact_sum][slow][.]") {
  exact_sum sum;
  const double x = 0x1.fffffffffffffp52;
  constexpr std::uint64_t count = (std::uint64_t{1} << 30) + 5;
  for (std::uint64_t i = 0; i < count; ++i)
    sum.add(x);
  REQUIRE(sum.value() == x * static_cast<double>(count)); // the product is rounded once, too
}

} // namespace viva::kernels::testing
