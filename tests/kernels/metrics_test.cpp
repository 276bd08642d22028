#include "kernels/metrics.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace viva::kernels::testing {

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float nan = std::numeric_limits<float>::quiet_NaN();

matrix view_of(const float* x, std::size_t rows, std::size_t cols) {
  return {reinterpret_cast<const std::byte*>(x), dtype::f32, rows, cols};
}

error_sums reference_sums(const std::vector<float>& x, const std::vector<float>& y,
                          std::size_t rows, std::size_t cols) {
  error_sums sums;
  measure_reference(view_of(x.data(), rows, cols), y.data(), sums);
  return sums;
}

void require_equal_sums(const std::vector<float>& x, const std::vector<float>& y, std::size_t rows,
                        std::size_t cols) {
  const auto wanted = reference_sums(x, y, rows, cols).encode();
  INFO(rows << " x " << cols);
  for_each_target([&] {
    error_sums sums;
    measure_simd(view_of(x.data(), rows, cols), y.data(), sums);
    REQUIRE(sums.encode() == wanted);
  });
}

} // namespace

TEST_CASE("the metrics of a known pair are its own", "[metrics]") {
  const std::vector<float> x = {1, 2, -3, 4};
  const std::vector<float> y = {1.5f, 2, -2, 4};
  const auto m = finish(reference_sums(x, y, 2, 2));
  REQUIRE(m.count == 4);
  REQUIRE(m.mse == Approx(1.25 / 4));
  REQUIRE(m.rmse == Approx(std::sqrt(1.25 / 4)));
  REQUIRE(m.mae == Approx(1.5 / 4));
  REQUIRE(m.max_error == 1.0);
  REQUIRE(m.cosine == Approx((1.5 + 4 + 6 + 16) / std::sqrt(30.0 * 26.25)));
  REQUIRE(m.snr_db == Approx(10 * std::log10(30 / 1.25)));
  REQUIRE(m.rel_rms == Approx(std::sqrt(1.25 / 30)));
  REQUIRE(m.p99 == Approx(1.0).epsilon(0.016));
  REQUIRE(m.outliers == 0);
}

TEST_CASE("a signal-to-noise ratio beyond 20 dB is not cut off", "[metrics]") {
  const std::vector<float> x(64, 1.0f);
  const std::vector<float> y(64, 1.0f + 0x1p-20f);
  REQUIRE(finish(reference_sums(x, y, 1, 64)).snr_db == Approx(20 * std::log10(0x1p20)));
}

TEST_CASE("equal tensors have no error, and empty ones nothing at all", "[metrics]") {
  const std::vector<float> x = {1, -2, 3};
  const auto same = finish(reference_sums(x, x, 1, 3));
  REQUIRE(same.snr_db == std::numeric_limits<double>::infinity());
  REQUIRE(same.rel_rms == 0);
  REQUIRE(same.cosine == Approx(1));
  REQUIRE(same.p99 == 0);
  const std::vector<float> zeros(5, 0.0f);
  REQUIRE(finish(reference_sums(zeros, zeros, 1, 5)).cosine == 1);
  const std::vector<float> ones(5, 1.0f);
  REQUIRE(finish(reference_sums(zeros, ones, 1, 5)).cosine == 0);
  REQUIRE(finish(error_sums{}).count == 0);
}

TEST_CASE("pairs that are not finite are counted apart and are in no sum", "[metrics]") {
  const std::vector<float> x = {1, nan, 3, infinity, 5};
  const std::vector<float> y = {1, 2, -infinity, infinity, 4};
  const auto sums = reference_sums(x, y, 1, 5);
  REQUIRE(sums.count == 2);
  REQUIRE(sums.not_finite == 3);
  const auto m = finish(sums);
  REQUIRE(m.mse == 0.5);
  REQUIRE(m.max_error == 1);
}

TEST_CASE("a difference beyond f32 counts as the largest f32", "[metrics]") {
  const float largest = std::numeric_limits<float>::max();
  const auto sums = reference_sums({largest}, {-largest}, 1, 1);
  REQUIRE(sums.count == 1);
  REQUIRE(sums.max_error == largest);
  REQUIRE(finish(sums).mae == static_cast<double>(largest));
}

TEST_CASE("SIMD measures what the reference measures, at every length and on every target",
          "[metrics][simd]") {
  for (std::size_t cols = 0; cols <= 300; ++cols) {
    const auto x = values_of(data_sets()[0], 3 * cols, dtype::f32, 1);
    const auto y = values_of(data_sets()[0], 3 * cols, dtype::f32, 2);
    require_equal_sums(x, y, 3, cols);
  }
  for (const auto& set : data_sets()) {
    INFO(set.name);
    require_equal_sums(values_of(set, 2 * 1700, dtype::f32, 1),
                       values_of(set, 2 * 1700, dtype::f32, 2), 2, 1700);
  }
}

TEST_CASE("SIMD measures every source type as the reference does, from any address",
          "[metrics][simd]") {
  for (const auto type : {dtype::f32, dtype::bf16, dtype::f16})
    for (const std::size_t cols : {1, 15, 511, 512, 1024, 1700, 4099})
      for (const auto& set : data_sets()) {
        const std::size_t rows = 2;
        const auto x = make_tensor(values_of(set, rows * cols, type, 1), type, rows, cols);
        std::vector<std::byte> moved(x.bytes.size() + 1);
        std::memcpy(moved.data() + 1, x.bytes.data(), x.bytes.size());
        std::vector<float> y{0};
        for (const float each : values_of(set, rows * cols, dtype::f32, 2))
          y.push_back(each);
        const matrix in{moved.data() + 1, type, rows, cols};
        error_sums wanted;
        measure_reference(x.view(), y.data() + 1, wanted);
        INFO(set.name << ", " << name_of(type) << ", " << cols << " columns");
        for_each_target([&] {
          error_sums sums;
          measure_simd(in, y.data() + 1, sums);
          REQUIRE(sums.encode() == wanted.encode());
        });
      }
}

TEST_CASE("percentiles and outliers of rows that are sampled are near those of all values",
          "[metrics]") {
  constexpr std::size_t rows = 64, cols = 4096;
  for (const bool heavy : {false, true}) {
    std::mt19937 random(5);
    std::normal_distribution<double> normal;
    std::vector<float> x(rows * cols), y(rows * cols);
    std::vector<double> errors;
    double squares = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      x[i] = static_cast<float>(normal(random));
      const double g = normal(random);
      y[i] = x[i] + static_cast<float>(0.01 * (heavy ? g * std::exp(normal(random)) : g));
      errors.push_back(std::fabs(static_cast<double>(y[i]) - static_cast<double>(x[i])));
      squares += errors.back() * errors.back();
    }
    error_sums sums;
    measure_simd(view_of(x.data(), rows, cols), y.data(), sums);
    const auto m = finish(sums);
    const double limit = 4 * std::sqrt(squares / static_cast<double>(x.size()));
    const auto outliers =
        static_cast<double>(std::ranges::count_if(errors, [&](double e) { return e > limit; }));
    std::ranges::sort(errors);
    const auto at = [&](double share) {
      return errors[static_cast<std::size_t>(share * static_cast<double>(errors.size()))];
    };
    INFO((heavy ? "heavy" : "normal"));
    CHECK(m.p50 == Approx(at(.5)).epsilon(.03));
    CHECK(m.p90 == Approx(at(.9)).epsilon(.03));
    CHECK(m.p99 == Approx(at(.99)).epsilon(heavy ? .08 : .04));
    CHECK(m.p999 == Approx(at(.999)).epsilon(heavy ? .2 : .08));
    // Each that is counted stands for eight.
    CHECK(std::fabs(static_cast<double>(m.outliers) - outliers)
          <= 4 * std::sqrt(8 * outliers) + 0.05 * outliers);
  }
}

TEST_CASE("SIMD measures around what is not finite as the reference does", "[metrics][simd]") {
  constexpr std::size_t cols = 1200;
  for (std::size_t at = 0; at < cols; at += 37)
    for (const float bad : {nan, infinity, -infinity, std::numeric_limits<float>::max()}) {
      auto x = values_of(data_sets()[0], cols, dtype::f32, 1);
      auto y = values_of(data_sets()[0], cols, dtype::f32, 2);
      x[at] = bad;
      y[(at + 5) % cols] = -bad;
      y[at] = at % 2 == 0 ? bad : -bad;
      require_equal_sums(x, y, 1, cols);
    }
}

TEST_CASE("shards merge to the bits of the whole, in any cut and order", "[metrics]") {
  constexpr std::size_t rows = 23;
  constexpr std::size_t cols = 77;
  const auto x = values_of(data_sets()[0], rows * cols, dtype::f32, 1);
  const auto y = values_of(data_sets()[1], rows * cols, dtype::f32, 2);
  const auto whole = reference_sums(x, y, rows, cols).encode();
  for (const std::size_t step : {1, 2, 5, 22}) {
    error_sums merged;
    for (std::size_t end = rows; end != 0; end -= std::min(step, end)) { // last shard first
      const std::size_t first = end - std::min(step, end);
      error_sums part;
      measure_simd(view_of(x.data() + first * cols, end - first, cols), y.data() + first * cols,
                   part);
      merged.merge(part);
    }
    REQUIRE(merged.encode() == whole);
  }
}

TEST_CASE("shards merged in shard order have the numbers of compute_all, on every target",
          "[metrics][simd]") {
  constexpr std::size_t rows = 23;
  constexpr std::size_t cols = 1100; // histograms of rows as long count some groups for all
  const auto x = values_of(data_sets()[0], rows * cols, dtype::f32, 1);
  const auto y = values_of(data_sets()[1], rows * cols, dtype::f32, 2);
  for_each_target([&] {
    const auto whole = compute_all(view_of(x.data(), rows, cols), y.data());
    for (const std::size_t step : {1, 2, 5, 22}) {
      error_sums merged;
      for (std::size_t first = 0; first < rows; first += step) {
        const auto count = std::min(step, rows - first);
        error_sums part, journalled;
        measure_simd(view_of(x.data() + first * cols, count, cols), y.data() + first * cols, part);
        REQUIRE(error_sums::decode(part.encode(), journalled));
        merged.merge(journalled);
      }
      const auto all = finish(merged);
      REQUIRE(std::memcmp(&all, &whole, sizeof all) == 0); // no padding: eight bytes each
    }
  });
}

TEST_CASE("sums come back from their bytes, and nothing else does", "[metrics][journal]") {
  const auto x = values_of(data_sets()[0], 400, dtype::f32, 1);
  const auto y = values_of(data_sets()[0], 400, dtype::f32, 2);
  const auto bytes = reference_sums(x, y, 4, 100).encode();
  error_sums back;
  REQUIRE(error_sums::decode(bytes, back));
  REQUIRE(back.encode() == bytes);
  REQUIRE(finish(back).snr_db == finish(reference_sums(x, y, 4, 100)).snr_db);
  REQUIRE(error_sums::decode(error_sums{}.encode(), back));
  REQUIRE(back.count == 0);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const int flip : {1, 0x80}) {
      auto broken = bytes;
      broken[i] = static_cast<char>(broken[i] ^ flip);
      if (error_sums::decode(broken, back))
        FAIL("accepted with byte " << i << " changed");
    }
    if (error_sums::decode(std::string_view(bytes).substr(0, i), back))
      FAIL("accepted when cut to " << i << " bytes");
  }
  REQUIRE_FALSE(error_sums::decode(bytes + '\0', back));
}

TEST_CASE("a quantile is within 1.6 percent of the value it stands for", "[metrics]") {
  std::vector<float> x(10000);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(i + 1);
  const std::vector<float> zeros(x.size(), 0.0f);
  const auto sums = reference_sums(x, zeros, 1, x.size());
  for (const double q : {0.001, 0.01, 0.5, 0.9, 0.99, 1.0})
    REQUIRE(sums.errors.quantile(q) == Approx(q * 10000).epsilon(0.016));
  REQUIRE(sums.errors.quantile(0) == Approx(1).epsilon(0.016));
  REQUIRE(sums.errors.above(8191.0) == 10000 - 8191); // 8192 opens a bucket
  REQUIRE(sums.errors.above(1e300) == 0);
  REQUIRE(magnitude_histogram{}.quantile(0.5) == 0);
}

TEST_CASE("outliers are the errors above four times the rmse", "[metrics]") {
  std::vector<float> x(1000, 1.0f);
  std::vector<float> y(1000, 1.0f);
  y[10] = 2.0f;
  y[500] = -1.0f;
  for (std::size_t i = 0; i < 100; ++i)
    y[600 + i] += 0.01f;
  REQUIRE(finish(reference_sums(x, y, 10, 100)).outliers == 2);
}

} // namespace viva::kernels::testing
