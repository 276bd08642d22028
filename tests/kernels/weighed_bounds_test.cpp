// What headers state of errors where columns weigh differently: bounds of every value whatever it
// weighs, and sums of the error that counts.

#include "kernels/scalar.hpp"
#include "tests/kernels/bounds.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/support/catch.hpp"

#include <rapidcheck.h>

#include <cmath>
#include <numeric>
#include <random>

namespace viva::kernels::testing {

namespace {

constexpr dtype dtypes[] = {dtype::f32, dtype::f16, dtype::bf16};

struct weighed_row {
  std::vector<float> x; ///< As their type holds them.
  std::vector<float> channels;
};

/// A row whose blocks are from alike to one value far above the others, of few magnitudes or many;
/// of columns some weigh nothing, others up to 2^24 times as much as others.
weighed_row drawn_row(std::size_t cols, dtype type) {
  std::mt19937 random(*rc::gen::arbitrary<std::uint32_t>());
  const int steepness = static_cast<int>(random() % 12), exponent = static_cast<int>(random() % 13);
  const bool few = random() % 2 == 0;
  const auto silent = random() % 4;
  weighed_row row;
  for (std::size_t i = 0; i < cols; ++i) {
    float x = few ? static_cast<float>(static_cast<int>(random() % 5) - 2) / 4 : normal(random);
    x = std::ldexp(x, exponent - 6 - static_cast<int>(i % 32) * steepness / 12);
    row.x.push_back(rounded_to(x, type));
    const bool weighs = silent == 0 || random() % 4 < silent;
    row.channels.push_back(
        weighs ? std::exp2(static_cast<float>(static_cast<int>(random() % 25) - 12)) : 0.0f);
  }
  return row;
}

std::vector<float> decoded(const recipe& with, const std::vector<float>& x) {
  const auto source = make_tensor(x, with.source, 1, x.size());
  const auto numbers = numbers_of(with, source.view());
  planes made(with, 1, x.size());
  std::vector<float> back(x.size());
  RC_ASSERT(with.row->encode_simd(with, source.view(), numbers, made.pointers()) == status{});
  RC_ASSERT(
      with.row->decode_simd(with, 1, x.size(), numbers, std::as_const(made).pointers(), back.data())
      == status{});
  return back;
}

/// ggml's weights: channel * sqrt(mean square of the row + x²).
std::vector<double> ggml_weights(const weighed_row& row) {
  double mean = 0;
  for (const float x : row.x)
    mean += double{x} * x / static_cast<double>(row.x.size());
  std::vector<double> weights;
  for (std::size_t i = 0; i < row.x.size(); ++i)
    weights.push_back(row.channels[i] * std::sqrt(mean + double{row.x[i]} * row.x[i]));
  return weights;
}

/// Sums over a block of GGUF's.
struct block_sums {
  double weight = 0, square = 0, error = 0, amax = 0, least = 0, most = 0, worst = 0;

  block_sums(const std::vector<float>& x, const std::vector<float>& back,
             const std::vector<double>& weights, std::size_t first) {
    for (std::size_t i = first; i < first + 32; ++i) {
      const double value = x[i], off = std::abs(value - back[i]);
      weight += weights[i];
      square += weights[i] * value * value;
      error += weights[i] * off * off;
      amax = std::max(amax, std::abs(value));
      least = std::min(least, value);
      most = std::max(most, value);
      worst = std::max(worst, off);
    }
  }
};

/// Of q4_0 (n = 8) and q5_0 (n = 16), of values whatever they weigh.
double without_min_bound(double n, double amax) {
  return (n == 8 ? 0.607 : 0.557) * amax + amax * 0x1p-10 + 0x1p-20;
}

/// Whether a value that has another level than 0 weighs anything.
bool any_counts(const weighed_row& row, std::size_t first, double n, double amax) {
  for (std::size_t i = first; i < first + 32; ++i)
    if (row.channels[i] > 0 && std::abs(double{row.x[i]}) > amax / (2 * n + 1.8) * (1 - 0x1p-20))
      return true;
  return false;
}

} // namespace

TEST_CASE("weighed q4_0 and q5_0 are within their header's bounds, of each value and of sums",
          "[weighed][property]") {
  for (const double n : {8.0, 16.0})
    for (const auto type : dtypes) {
      const auto plain = recipe_of(n == 8 ? "q4_0" : "q5_0", type);
      INFO(plain.name() << " from " << name_of(type));
      const bool held = rc::check([&] {
        const auto row = drawn_row(96, type);
        auto with = plain;
        with.channels = row.channels;
        const auto back = decoded(with, row.x), unweighed = decoded(plain, row.x);
        const auto weights = ggml_weights(row);
        for (std::size_t first = 0; first < row.x.size(); first += 32) {
          const block_sums sums(row.x, back, weights, first);
          const block_sums without(row.x, unweighed, weights, first);
          RC_ASSERT(sums.worst <= (any_counts(row, first, n, sums.amax)
                                       ? without_min_bound(n, sums.amax)
                                       : sums.amax));
          RC_ASSERT(sums.error <= without.error + 0x1p-14 * sums.square + 0x1p-40 * sums.weight);
        }
      });
      REQUIRE(held);
    }
}

TEST_CASE("weighed q4_0 and q5_0 come near the bounds of their header", "[weighed]") {
  for (const double n : {8.0, 16.0}) {
    auto with = recipe_of(n == 8 ? "q4_0" : "q5_0", dtype::f32);
    // Only the finest of factors gives the others a level; 1 has the last but weighs nothing.
    weighed_row row{std::vector<float>(32, static_cast<float>(0.5001 / (n + 0.9))),
                    std::vector<float>(32, 1.0f)};
    row.x[0] = -1;
    row.x[1] = 1;
    row.channels[0] = row.channels[1] = 0;
    with.channels = row.channels;
    const auto back = decoded(with, row.x);
    CHECK(1 - back[1] > without_min_bound(n, 1) - 0.003);
    for (std::size_t i = 2; i < 32; ++i) // which none has where they weigh nothing
      row.channels[i] = 0;
    row.channels[31] = 1;
    row.x[31] = static_cast<float>(0.499 / (n + 0.9));
    with.channels = row.channels;
    CHECK(decoded(with, row.x) == std::vector<float>(32, 0.0f));
  }
}

TEST_CASE("weighed q4_1 and q5_1 err by what counts no more than their header says",
          "[weighed][property]") {
  for (const double n : {15.0, 31.0})
    for (const auto type : dtypes) {
      const auto plain = recipe_of(n == 15 ? "q4_1" : "q5_1", type);
      INFO(plain.name() << " from " << name_of(type));
      const bool held = rc::check([&] {
        const auto row = drawn_row(96, type);
        auto with = plain;
        with.channels = row.channels;
        const auto back = decoded(with, row.x);
        const auto weights = ggml_weights(row);
        for (std::size_t first = 0; first < row.x.size(); first += 32) {
          const block_sums sums(row.x, back, weights, first);
          const double range = sums.most - sums.least; // widened to 0
          const double root = range / (2 * n) + (range + sums.amax) * 0x1p-9 + 0x1p-20;
          RC_ASSERT(sums.error <= sums.weight * root * root * slack);
          for (std::size_t i = first; i < first + 32; ++i)
            RC_ASSERT(std::sqrt(weights[i]) * std::abs(double{row.x[i]} - double{back[i]})
                      <= std::sqrt(sums.weight) * root * slack);
        }
      });
      REQUIRE(held);
    }
}

TEST_CASE("weighed nvfp4-four-or-six is within nvfp4's bound, and errs no more by what counts",
          "[weighed][property]") {
  for (const auto type : dtypes) {
    const auto plain = recipe_of("nvfp4-four-or-six", type);
    INFO("from " << name_of(type));
    const bool held = rc::check([&] {
      const auto row = drawn_row(96, type);
      auto with = plain;
      with.channels = row.channels;
      const auto back = decoded(with, row.x), unweighed = decoded(plain, row.x);
      double tensor = 0;
      for (const float x : row.x)
        tensor = std::max(tensor, std::abs(double{x}));
      for (std::size_t first = 0; first < row.x.size(); first += 16) {
        double amax = 0, worst = 0, error = 0, without = 0, square = 0;
        for (std::size_t i = first; i < first + 16; ++i) {
          const double x = row.x[i], off = std::abs(x - back[i]), before = x - unweighed[i];
          amax = std::max(amax, std::abs(x));
          worst = std::max(worst, off);
          error += row.channels[i] * off * off;
          without += row.channels[i] * before * before;
          square += row.channels[i] * x * x;
        }
        RC_ASSERT(worst <= (0.1771 * amax + 0x1p-16 * tensor) * slack);
        RC_ASSERT(error <= without * (1 + 0x1p-17) + 0x1p-26 * square);
      }
    });
    REQUIRE(held);
  }
}

TEST_CASE("awq's groups are within its header's bound where columns weigh differently",
          "[weighed][property][awq]") {
  for (const std::string name : {"awq", "awq:group=32", "awq:no-clip"})
    for (const auto type : dtypes) {
      auto with = recipe_of(name, type);
      INFO(name << " from " << name_of(type));
      const double of_amax = name == "awq:no-clip" ? 0.137 : 0.49;
      const bool held = rc::check([&] {
        const auto row = drawn_row(256, type);
        with.channels = row.channels;
        const auto back = decoded(with, row.x);
        for (std::size_t first = 0; first < row.x.size(); first += with.block) {
          double amax = 0, worst = 0;
          for (std::size_t i = first; i < first + with.block; ++i) {
            amax = std::max(amax, std::abs(double{row.x[i]}));
            worst = std::max(worst, std::abs(double{row.x[i]} - double{back[i]}));
          }
          RC_ASSERT(worst <= of_amax * amax + 1e-6);
        }
      });
      REQUIRE(held);
    }
}

TEST_CASE("weighed 2:4 loses no value that counts more than one that it keeps",
          "[weighed][property][sparse24]") {
  for (const auto type : dtypes) {
    auto with = recipe_of("sparse24", type);
    INFO("from " << name_of(type));
    const bool held = rc::check([&] {
      const auto row = drawn_row(96, type);
      with.channels = row.channels;
      const auto back = decoded(with, row.x);
      for (std::size_t first = 0; first < row.x.size(); first += 4) {
        double lost = 0, kept = HUGE_VAL;
        int zeros = 0;
        for (std::size_t i = first; i < first + 4; ++i) {
          const double score = std::abs(double{row.x[i]}) * std::sqrt(double{row.channels[i]});
          const bool is_lost = back[i] == 0;
          RC_ASSERT((is_lost || back[i] == row.x[i]));
          (is_lost ? lost : kept) = is_lost ? std::max(lost, score) : std::min(kept, score);
          zeros += is_lost;
        }
        RC_ASSERT(zeros >= 2);
        RC_ASSERT(lost <= kept * slack);
      }
    });
    REQUIRE(held);
  }
}

} // namespace viva::kernels::testing
