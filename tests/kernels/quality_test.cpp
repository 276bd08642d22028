// The figures that a correct implementation shows: SQNR on N(0,1), 1024 x 512, mean of three draws.

#include "kernels/metrics.hpp"
#include "kernels/normal_theory.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

namespace viva::kernels::testing {

namespace {

double sqnr_db_of(const recipe& with, std::uint32_t seed) {
  constexpr std::size_t rows = 1024;
  constexpr std::size_t cols = 512;
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(rows * cols);
  for (auto& x : values)
    x = normal(random);
  const auto source = make_tensor(values, with.source, rows, cols);
  const auto numbers = numbers_of(with, source.view());
  planes out(with, rows, cols);
  error_sums sums;
  REQUIRE(encode_and_measure(with, source.view(), numbers, out.pointers(), &sums) == status{});
  return finish(sums).snr_db;
}

double mean_sqnr_db(const recipe& with) {
  return (sqnr_db_of(with, 1) + sqnr_db_of(with, 2) + sqnr_db_of(with, 3)) / 3;
}

} // namespace

TEST_CASE("every method reaches its SQNR on N(0,1)", "[quality]") {
  tests::each_or_every_fourth(methods(), [](const auto& row) {
    const auto with = recipe_of(row.name, dtype::f32);
    const double mean = mean_sqnr_db(with);
    INFO(row.name << ": " << mean << " dB");
    // The largest value of a tensor is another in every draw: 0.5 dB; that of a row averages out.
    CHECK(mean == Approx(row.sqnr_db_normal).margin(row.name == "int8-tensor" ? 0.1 : 0.05));
  });
}

TEST_CASE("options of int4 and awq reach their SQNR on N(0,1)", "[quality][int4][awq]") {
  const auto [words, wanted] = GENERATE(table<std::string, double>({
      {"int4:absmax", 18.59},
      {"int4:search", 19.91},
      {"int4:asym", 19.95},
      {"int4:asym:search", 20.44},
      {"int4:group=32", 20.46},
      {"int4:group=32:search", 21.3},
      {"awq:rtn", 19.95},
  }));
  const double mean = mean_sqnr_db(recipe_of(words, dtype::f32));
  INFO(words << ": " << mean << " dB");
  CHECK(mean == Approx(wanted).margin(0.05));
}

TEST_CASE("int4 with zero points: 20.01 dB on N(0,1) is where these are not rounded",
          "[quality][int4]") {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  const auto nearest = [](float x) { return std::rint(x); };
  double power = 0, exact = 0, rounded = 0;
  for (std::size_t group = 0; group < tests::sized(3, 1) * 4096; ++group) {
    std::vector<float> values(128);
    for (auto& x : values)
      x = normal(random);
    const auto [low, high] = std::ranges::minmax(values);
    const float scale = (high - low) / 15, zero = -low / scale;
    for (const float x : values) {
      const float whole = std::clamp(nearest(x / scale) + nearest(zero), 0.0f, 15.0f);
      power += double{x} * x;
      exact += std::pow((nearest(x / scale + zero) - zero) * scale - x, 2);
      rounded += std::pow((whole - nearest(zero)) * scale - x, 2);
    }
  }
  CHECK(10 * std::log10(power / exact) == Approx(20.01).margin(0.05));
  CHECK(10 * std::log10(power / rounded) == Approx(19.95).margin(0.05)); // in four bits
}

TEST_CASE("where the SQNR on N(0,1) is derived, the draws show it", "[quality]") {
  tests::each_or_every_fourth(methods(), [](const auto& row) {
    if (row.sqnr_db_theory == nullptr)
      return;
    const auto with = recipe_of(row.name, dtype::f32);
    const double mean = mean_sqnr_db(with);
    INFO(row.name << ": " << mean << " dB");
    // The maximum of a whole tensor differs from draw to draw.
    const double margin = row.name == "int8-tensor" ? 0.6 : 0.05;
    CHECK(row.sqnr_db_theory(with, 1024, 512) == Approx(mean).margin(margin));
  });
}

TEST_CASE("methods have a theory unless more than a block's largest value settles their scales",
          "[quality]") {
  std::set<std::string_view> without;
  for (const auto& row : methods())
    if (row.sqnr_db_theory == nullptr)
      without.insert(row.name);
  CHECK(without
        == std::set<std::string_view>{"awq", "nvfp4-four-or-six", "q4_1", "q5_1",
                                      "sparse24+int4", "sparse24+int8", "sparse24+nf4",
                                      "sparse24+nf4-dq", "sparse24-cutlass+int8"});
}

TEST_CASE("int4's options have the theory of what they do, or none", "[quality]") {
  const auto theory = [](const char* words) {
    const auto with = recipe_of(words, dtype::f32);
    return with.row->sqnr_db_theory(with, 1024, 512);
  };
  const auto absmax = recipe_of("int4:absmax", dtype::f32);
  CHECK(theory("int4:absmax") == Approx(mean_sqnr_db(absmax)).margin(0.05));
  for (const char* words : {"int4:search", "int4:asym", "int4:asym:search"})
    CHECK(std::isnan(theory(words)));
}

TEST_CASE("the theory of a uniform quantizer is 12 q^2 over the mean square maximum", "[quality]") {
  const double fine = normal_sqnr_db(1, [](double x, double) { return x * 0.9; });
  REQUIRE(fine == Approx(20).margin(0.001)); // an error of a tenth of every value
  const double steps =
      normal_sqnr_db(32, [](double x, double a) { return std::round(x / a * 100) * a / 100; });
  constexpr double mean_square_maximum = 5.72; // of 32 normal values, from 40,000 draws
  constexpr double maximum_is_exact = 31.0 / 32;
  REQUIRE(steps
          == Approx(10 * std::log10(12e4 / mean_square_maximum / maximum_is_exact)).margin(0.05));
}

} // namespace viva::kernels::testing
