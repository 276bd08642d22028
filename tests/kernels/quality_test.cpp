// The figures that a correct implementation shows: SQNR on N(0,1), 1024 x 512, mean of three draws.

#include "kernels/metrics.hpp"
#include "kernels/normal_theory.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <span>

namespace viva::kernels::testing {

namespace {

metrics metrics_of(const recipe& with, std::uint32_t seed) {
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
  return finish(sums);
}

/// Means of three draws.
metrics mean_metrics(const recipe& with) {
  metrics mean;
  mean.cosine = 0;
  for (std::uint32_t seed = 1; seed <= 3; ++seed) {
    const auto found = metrics_of(with, seed);
    mean.snr_db += found.snr_db / 3;
    mean.rel_rms += found.rel_rms / 3;
    mean.cosine += found.cosine / 3;
  }
  return mean;
}

double mean_sqnr_db(const recipe& with) {
  return mean_metrics(with).snr_db;
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

TEST_CASE("a correct implementation's figures on N(0,1), each from the type its row counts",
          "[quality]") {
  struct figures {
    const char* words;
    dtype source; ///< Of 16 bits where scales or kept values count as 16.
    double bits, rms_percent, sqnr_db, cosine;
  };
  using enum dtype;
  const figures table[] = {{"int8-tensor", f32, 8.0001, 1.155, 38.75, .999933},
                           {"int8", f32, 8.0625, 0.743, 42.58, .999972},
                           {"q8_0", f32, 8.5, 0.535, 45.43, .999986},
                           {"q4_0", f32, 4.5, 8.602, 21.31, .996306},
                           {"q4_1", f32, 5.0, 7.824, 22.13, .996957},
                           {"int4:absmax", f16, 4.125, 11.757, 18.59, .993163},
                           {"int4:search", f16, 4.125, 10.104, 19.91, .994883},
                           {"nf4", f32, 4.5, 9.193, 20.73, .995773},
                           {"nf4-f16", f32, 4.25, 9.193, 20.73, .995773},
                           {"nf4-dq", f32, 4.127, 9.196, 20.73, .995770},
                           {"nvfp4", f32, 4.5001, 9.522, 20.43, .995467},
                           {"nvfp4-four-or-six", f32, 4.5001, 8.702, 21.21, .996215},
                           {"mxfp4-ggml", f32, 4.25, 11.506, 18.78, .993380},
                           {"sparse24", f16, 9.0, 36.34, 8.79, .931636},
                           {"sparse24+int8", f32, 5.0625, 36.34, 8.79, .931621},
                           {"sparse24+nf4", f32, 3.125, 37.20, 8.59, .928237},
                           {"sparse24+nf4-dq", f32, 3.0635, 37.20, 8.59, .928235}};
  tests::each_or_every_fourth(std::span(table), [](const figures& row) {
    const auto with = recipe_of(row.words, row.source);
    const auto found = mean_metrics(with);
    INFO(row.words << ": " << found.snr_db << " dB, " << 100 * found.rel_rms << " %, cosine "
                   << found.cosine);
    // The largest value of a tensor is another in every draw.
    const double margin = row.sqnr_db == 38.75 ? 0.1 : 0.05;
    const double of_error = std::pow(10, margin / 20) - 1;
    CHECK(bits_per_weight(with, 1024, 512) == Approx(row.bits).margin(6e-5));
    CHECK(found.snr_db == Approx(row.sqnr_db).margin(margin));
    CHECK(found.rel_rms * 100 == Approx(row.rms_percent).epsilon(of_error));
    CHECK(1 - found.cosine == Approx(1 - row.cosine).epsilon(2 * of_error).margin(5e-7));
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

namespace {

/// 4 Mi values of N(0,1), as tensors of 16 x 1024.
struct many_draws {
  static constexpr std::size_t rows = 16, cols = 1024;
  std::vector<float> values;

  many_draws() : values(tests::sized(std::size_t{4} << 20, std::size_t{1} << 17)) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (auto& x : values)
      x = normal(random);
  }

  /// Of all tensors together.
  double sqnr_db(const recipe& with) const {
    error_sums sums;
    for (std::size_t first = 0; first < values.size(); first += rows * cols) {
      const auto* bytes = reinterpret_cast<const std::byte*>(values.data() + first);
      const matrix in{bytes, dtype::f32, rows, cols};
      planes out(with, rows, cols);
      REQUIRE(encode_and_measure(with, in, numbers_of(with, in), out.pointers(), &sums)
              == status{});
    }
    return finish(sums).snr_db;
  }
};

} // namespace

TEST_CASE("the SQNR that is derived for N(0,1) is what 4 Mi values show, for every method with "
          "each of its options",
          "[quality]") {
  const many_draws draws;
  tests::each_or_every_fourth(methods(), [&](const auto& row) {
    for (const auto& text : spellings(row)) {
      const bool between = text.find("block=") != text.npos && !text.ends_with("=4096");
      if (between || (tests::sanitized && text != row.name))
        continue;
      const auto with = recipe_of(text, dtype::f32);
      const double measured = draws.sqnr_db(with);
      const double derived = row.sqnr_db_theory(with, draws.rows, draws.cols);
      INFO(text << ": " << measured << " dB measured, " << derived << " dB derived");
      // int8-tensor has one maximum a tensor: of so many draws its mean errs by 0.04 dB.
      const double margin = row.name == "int8-tensor" ? 0.2 : 0.05;
      CHECK(std::abs(derived - measured) < (tests::sanitized ? 0.6 : margin));
    }
  });
}

TEST_CASE("what a stack adds to the error of pruning is what is derived for the values it keeps",
          "[quality][sparse24]") {
  const many_draws draws;
  const auto added = [](double stack_db, double sparse_db) {
    return std::pow(10, -stack_db / 10) - std::pow(10, -sparse_db / 10);
  };
  const auto pruning = recipe_of("sparse24", dtype::f32);
  const double pruned = draws.sqnr_db(pruning), lost = pruning.row->sqnr_db_theory(pruning, 0, 0);
  const char* stacks[] = {"sparse24+int8", "sparse24+nf4", "sparse24+int4", "sparse24+int4:asym",
                          "sparse24+int4:group=32:search"};
  for (const char* words : std::span(stacks).first(tests::sized(5, 2))) {
    const auto with = recipe_of(words, dtype::f32);
    const double measured = added(draws.sqnr_db(with), pruned);
    const double derived = added(with.row->sqnr_db_theory(with, draws.rows, draws.cols), lost);
    INFO(words << ": " << measured << " measured, " << derived << " derived");
    CHECK(std::abs(10 * std::log10(derived / measured)) < (tests::sanitized ? 0.3 : 0.1));
  }
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
