// The exponentials of attention's weights, on every target: their whole range beside double.

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/kernels/attention_exp_test.cpp"
#include <hwy/foreach_target.h>

#include "kernels/attention-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// `count` values, whole vectors of them.
void weights_of_scores(const float* in, std::size_t count, float* out) {
  const df32 d;
  for (std::size_t i = 0; i < count; i += lanes())
    hn::StoreU(exp2(hn::LoadU(d, in + i)), d, out + i);
}

/// The same of what is rounded to bf16.
void bf16_weights_of_scores(const float* in, std::size_t count, float* out) {
  const df32 d;
  for (std::size_t i = 0; i < count; i += lanes())
    hn::StoreU(exp2_for_bf16(hn::LoadU(d, in + i)), d, out + i);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "tests/kernels/targets.hpp"
#include "tests/support/sanitized.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace viva::kernels {

HWY_EXPORT(weights_of_scores);
HWY_EXPORT(bf16_weights_of_scores);

namespace testing {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Which of the two: for sums of f32, or for weights that are rounded to bf16.
enum class made_for { f32, bf16 };

std::vector<float> exp2_of(std::vector<float> in, made_for what = made_for::f32) {
  const std::size_t count = in.size();
  in.resize((count + 15) / 16 * 16);
  std::vector<float> out(in.size());
  if (what == made_for::f32)
    HWY_DYNAMIC_DISPATCH(weights_of_scores)(in.data(), in.size(), out.data());
  else
    HWY_DYNAMIC_DISPATCH(bf16_weights_of_scores)(in.data(), in.size(), out.data());
  out.resize(count);
  return out;
}

/// [from, to) in equal steps, which f32 holds exactly.
std::vector<float> steps(float from, float to, float step) {
  std::vector<float> all;
  for (float t = from; t < to; t += step)
    all.push_back(t);
  return all;
}

/// `around` and 32 neighbours on each side.
void add_neighbours(float around, std::vector<float>& all) {
  for (const float end : {-infinity, infinity}) {
    float t = around;
    for (int i = 0; i <= 32; ++i, t = std::nextafter(t, end))
      all.push_back(t);
  }
}

/// Where the result is normal: every fraction to 2^-22, then every exponent, then both sides of
/// where rounding turns.
std::vector<std::vector<float>> normal_ranges() {
  std::vector<std::vector<float>> ranges{
      steps(-1, 1, tests::sanitized ? 0x1p-14f : 0x1p-22f),
      steps(-126, 127.5f, tests::sanitized ? 0x1p-4f : 0x1p-12f)};
  auto& edges = ranges.emplace_back();
  for (int half = -2 * 126 + 1; half < 2 * 127 + 1; ++half)
    add_neighbours(0.5f * static_cast<float>(half), edges);
  for (int exponent = -149; exponent < -1; ++exponent)
    for (const float sign : {-1.0f, 1.0f})
      edges.push_back(std::ldexp(sign, exponent));
  edges.insert(edges.end(), {0.0f, -0.0f, -126.0f, 127.5f, std::nextafter(127.5f, 0.0f)});
  return ranges;
}

/// The worst error of bf16's, relative to the truth, and where.
std::pair<double, float> worst_relative(const std::vector<float>& all) {
  const auto got = exp2_of(all, made_for::bf16);
  std::pair<double, float> worst{0, 0};
  for (std::size_t i = 0; i < all.size(); ++i) {
    const double exact = std::exp2(static_cast<double>(all[i]));
    const double error = std::fabs(static_cast<double>(got[i]) / exact - 1);
    if (!(error <= worst.first)) // NaN, too
      worst = {error, all[i]};
  }
  return worst;
}

/// The worst error in units of the last place of the truth, and where.
std::pair<double, float> worst_ulps(const std::vector<float>& all) {
  const auto got = exp2_of(all);
  std::pair<double, float> worst{0, 0};
  for (std::size_t i = 0; i < all.size(); ++i) {
    const double exact = std::exp2(static_cast<double>(all[i]));
    const double ulp = std::ldexp(1.0, std::ilogb(exact) - 23);
    const double error = std::fabs(static_cast<double>(got[i]) - exact) / ulp;
    if (!(error <= worst.first)) // NaN, too
      worst = {error, all[i]};
  }
  return worst;
}

} // namespace

TEST_CASE("attention: its exponential is within 2.3 ulp wherever the result is normal",
          "[attention]") {
  const auto ranges = normal_ranges();
  for_each_target([&] {
    for (const auto& range : ranges) {
      const auto [ulps, where] = worst_ulps(range);
      INFO("at " << where << ": " << ulps);
      CHECK(ulps <= 2.3);
      CHECK(ulps > 0.5); // values that are rounded were met
    }
  });
}

TEST_CASE("attention: the exponential of weights for bf16 is within 4e-6 wherever the result is "
          "normal",
          "[attention]") {
  const auto ranges = normal_ranges();
  for_each_target([&] {
    for (const auto& range : ranges) {
      const auto [error, where] = worst_relative(range);
      INFO("at " << where << ": " << error);
      CHECK(error <= 4e-6);
      CHECK(error > 1e-7); // values that are rounded were met
    }
  });
}

TEST_CASE("attention: its exponentials are exact at whole numbers", "[attention]") {
  const auto what = GENERATE(made_for::f32, made_for::bf16);
  for_each_target([&] {
    const auto all = steps(-126, 127.5f, 1);
    const auto got = exp2_of(all, what);
    for (std::size_t i = 0; i < all.size(); ++i) {
      INFO(all[i]);
      REQUIRE(got[i] == std::ldexp(1.0f, static_cast<int>(all[i])));
    }
  });
}

TEST_CASE("attention: its exponentials have subnormals down to 2^-126.5", "[attention]") {
  const auto what = GENERATE(made_for::f32, made_for::bf16);
  auto all = steps(-126.5f + 0x1p-16f, -126, tests::sanitized ? 0x1p-8f : 0x1p-16f);
  for (float t = -126.5f; all.size() % 64 != 0;)
    all.push_back(t = std::nextafter(t, 0.0f));
  for_each_target([&] {
    const auto got = exp2_of(all, what);
    const double relative = what == made_for::f32 ? 0 : 4e-6;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double exact = std::exp2(static_cast<double>(all[i]));
      if (!(std::fabs(static_cast<double>(got[i]) - exact) <= 0x1p-148 + relative * exact))
        FAIL(got[i] << " at " << all[i] << " for " << exact);
    }
  });
}

TEST_CASE("attention: its exponentials are 0 at and below -126.5 and for -inf, and NaN for NaN",
          "[attention]") {
  const auto what = GENERATE(made_for::f32, made_for::bf16);
  std::vector<float> none{-126.5f, -127.0f, -127.25f, -128.0f, -149.0f, -150.0f, -1000.0f, -1e30f,
                          std::numeric_limits<float>::lowest(), -infinity};
  for (float t = -126.5f; t > -300.0f; t -= 0.37f)
    none.push_back(t);
  for (float t = -126.5f; none.size() % 64 != 0;)
    none.push_back(t = std::nextafter(t, -infinity));
  std::vector<float> no_number; // whatever its digits
  for (int digit = 0; digit < 23; ++digit)
    for (const std::uint32_t sign : {0u, 0x80000000u})
      no_number.push_back(std::bit_cast<float>(sign | 0x7F800000u | 1u << digit));
  no_number.push_back(std::bit_cast<float>(0x7FFFFFFFu));
  no_number.push_back(std::bit_cast<float>(0xFFFFFFFFu));
  for_each_target([&] {
    const auto zeros = exp2_of(none, what);
    for (std::size_t i = 0; i < none.size(); ++i) {
      INFO(none[i]);
      REQUIRE(std::bit_cast<std::uint32_t>(zeros[i]) == 0); // not -0, either
    }
    for (const float each : exp2_of(no_number, what))
      REQUIRE(std::isnan(each));
  });
}

} // namespace testing
} // namespace viva::kernels
#endif
