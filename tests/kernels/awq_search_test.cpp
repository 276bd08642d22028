// The search for awq's scales: SIMD equals the reference on every target, and sums do not depend on
// the cut. What it does for the outputs of a layer is in tests/cli/bench_awq_test.cpp.

#include "kernels/awq.hpp"
#include "kernels/awq_search.hpp"
#include "kernels/metrics.hpp"
#include "tests/kernels/data.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/kernels/targets.hpp"

#include <cmath>
#include <random>

namespace viva::kernels::testing {

namespace {

constexpr dtype dtypes[] = {dtype::f32, dtype::f16, dtype::bf16};

awq::scale_table any_table(std::size_t cols) {
  std::mt19937 random(4);
  std::vector<float> abs(cols), square(cols);
  std::vector<std::uint64_t> shares(cols);
  for (std::size_t k = 0; k < cols; ++k) {
    abs[k] = std::fabs(normal(random));
    square[k] = abs[k] * abs[k] * 1.5f;
    shares[k] = random() % (3u << 24);
  }
  return awq::make_scale_table(abs, square, shares, 3);
}

} // namespace

TEST_CASE("awq's search is alike on every target, on data that breaks encoders", "[awq][simd]") {
  constexpr std::size_t cols = 352; // two groups of 128, and a short one
  const auto table = any_table(cols);
  for (const auto* text : {"awq", "awq:group=32", "awq:group=64"})
    for (const auto type : dtypes)
      for (const auto& set : data_sets()) {
        const auto with = recipe_of(text, type);
        const auto source = make_tensor(values_of(set, 3 * cols, type, 99), type, 3, cols);
        std::vector<std::uint64_t> shares(cols, 7);
        awq::loss_sums losses;
        REQUIRE(awq::add_shares_reference(with, source.view(), shares.data()) == status{});
        REQUIRE(awq::add_losses_reference(with, source.view(), table, losses) == status{});
        INFO(text << ", " << set.name << ", " << name_of(type));
        for_each_target([&] {
          std::vector<std::uint64_t> mine(cols, 7);
          awq::loss_sums sums;
          REQUIRE(awq::add_shares(with, source.view(), mine.data()) == status{});
          REQUIRE(awq::add_losses(with, source.view(), table, sums) == status{});
          REQUIRE(mine == shares);
          REQUIRE(sums.encode() == losses.encode());
        });
      }
}

TEST_CASE("awq's codes are alike on every target where channels weigh differently", "[awq][simd]") {
  constexpr std::size_t cols = 288;
  const auto table = any_table(cols);
  for (const auto type : dtypes)
    for (const auto& set : data_sets()) {
      auto with = recipe_of("awq", type);
      with.channels = table.weights_of(7);
      const auto source = make_tensor(values_of(set, 11 * cols, type, 3), type, 11, cols);
      planes wanted(with, 11, cols);
      REQUIRE(with.row->encode_reference(with, source.view(), {}, wanted.pointers()) == status{});
      INFO(set.name << ", " << name_of(type));
      for_each_target([&] {
        planes made(with, 11, cols);
        REQUIRE(with.row->encode_simd(with, source.view(), {}, made.pointers()) == status{});
        REQUIRE(made == wanted);
      });
    }
}

TEST_CASE("awq takes the widest of ranges whose losses are equal, on every target", "[awq][simd]") {
  constexpr std::size_t cols = 160;
  const std::vector<float> nothing_counts(cols, 0.0f);
  auto with = recipe_of("awq", dtype::f32);
  const auto source = make_tensor(values_of(data_sets().front(), 9 * cols, dtype::f32, 6),
                                  dtype::f32, 9, cols);
  planes wanted(with, 9, cols);
  auto plain = recipe_of("awq:rtn", dtype::f32);
  REQUIRE(with.row->encode_reference(plain, source.view(), {}, wanted.pointers()) == status{});
  with.channels = nothing_counts;
  for_each_target([&] {
    planes made(with, 9, cols);
    REQUIRE(with.row->encode_simd(with, source.view(), {}, made.pointers()) == status{});
    REQUIRE(made == wanted);
  });
}

TEST_CASE("awq's losses are those of quotients beside the middles of two f16, on every target",
          "[awq][simd]") {
  constexpr std::size_t cols = 128, rows = 64;
  const auto with = recipe_of("awq", dtype::f32);
  // Right below n + 1/2, odd n: on the middle f16 rounds up to it and then to n + 1, below to n.
  constexpr std::pair<int, float> spacings[] = {{1, 0x1p-10f}, {3, 0x1p-9f}, {5, 0x1p-8f},
                                                {7, 0x1p-8f}};
  std::mt19937 random(12);
  std::vector<float> values;
  for (std::size_t r = 0; r < rows; ++r) {
    const float scale = f32_from_f16(static_cast<std::uint16_t>(0x2000 + random() % 0x1000));
    values.push_back(8 * scale);
    values.push_back(-7 * scale);
    while (values.size() % cols != 0) {
      const auto [n, spacing] = spacings[random() % 4];
      const float middle = (static_cast<float>(n) + 0.5f - spacing / 2) * scale;
      const float x = ulps_from(middle, static_cast<int>(random() % 7) - 3);
      values.push_back(random() % 2 ? x : -x);
    }
  }
  const auto source = make_tensor(values, dtype::f32, rows, cols);
  const auto table = any_table(cols); // its first candidate scales nothing
  awq::loss_sums losses;
  REQUIRE(awq::add_losses_reference(with, source.view(), table, losses) == status{});
  for_each_target([&] {
    awq::loss_sums sums;
    REQUIRE(awq::add_losses(with, source.view(), table, sums) == status{});
    REQUIRE(sums.encode() == losses.encode());
  });
}

TEST_CASE("awq's sums do not depend on how rows were cut", "[awq][runs]") {
  constexpr std::size_t cols = 256, rows = 37;
  const auto with = recipe_of("awq", dtype::bf16);
  const auto table = any_table(cols);
  const auto source = make_tensor(values_of(data_sets().front(), rows * cols, dtype::bf16, 3),
                                  dtype::bf16, rows, cols);
  std::vector<std::uint64_t> whole(cols), parts(cols);
  awq::loss_sums losses;
  REQUIRE(awq::add_shares(with, source.view(), whole.data()) == status{});
  REQUIRE(awq::add_losses(with, source.view(), table, losses) == status{});
  for (const std::size_t step : {1, 5, 8, 36}) {
    std::ranges::fill(parts, 0);
    std::vector<awq::loss_sums> each;
    for (std::size_t first = 0; first < rows; first += step) {
      const auto run = source.view().slice(first, std::min(step, rows - first));
      REQUIRE(awq::add_shares(with, run, parts.data()) == status{});
      REQUIRE(awq::add_losses(with, run, table, each.emplace_back()) == status{});
    }
    awq::loss_sums merged;
    for (auto part = each.rbegin(); part != each.rend(); ++part) { // last first
      awq::loss_sums read;
      REQUIRE(awq::loss_sums::decode(part->encode(), read));
      merged.merge(read);
    }
    REQUIRE(parts == whole);
    REQUIRE(merged.encode() == losses.encode());
  }
}

TEST_CASE("awq's search finds NaN and infinity, and says the first", "[awq][edge]") {
  constexpr std::size_t cols = 256;
  const auto with = recipe_of("awq", dtype::f32);
  const auto table = any_table(cols);
  for (const std::size_t at : {0ul, 31ul, 200ul, 256ul, 511ul}) {
    auto values = values_of(data_sets().front(), 2 * cols, dtype::f32, 5);
    values[at] = at % 2 ? HUGE_VALF : std::nanf("");
    values.back() = HUGE_VALF;
    const auto source = make_tensor(values, dtype::f32, 2, cols);
    std::vector<std::uint64_t> shares(cols);
    awq::loss_sums losses;
    const status wanted{errc::not_finite, at};
    CHECK(awq::add_shares(with, source.view(), shares.data()) == wanted);
    CHECK(awq::add_shares_reference(with, source.view(), shares.data()) == wanted);
    CHECK(awq::add_losses(with, source.view(), table, losses) == wanted);
    CHECK(awq::add_losses_reference(with, source.view(), table, losses) == wanted);
  }
}

TEST_CASE("awq's losses survive what no sum can hold", "[awq][edge]") {
  awq::loss_sums some, read;
  some.sums[3].add(1.5);
  CHECK(some.best() == 0);
  CHECK(awq::loss_sums::decode(some.encode(), read));
  CHECK(read.sums == some.sums);
  const auto bytes = some.encode();
  for (std::size_t length = 0; length < bytes.size(); ++length)
    CHECK_FALSE(awq::loss_sums::decode(bytes.substr(0, length), read));
  CHECK_FALSE(awq::loss_sums::decode(bytes + "x", read));
  const auto with = recipe_of("awq", dtype::f32);
  const auto huge = make_tensor(std::vector<float>(128, 3e38f), dtype::f32, 1, 128);
  awq::loss_sums losses;
  REQUIRE(awq::add_losses(with, huge.view(), any_table(128), losses) == status{});
  CHECK(losses.sums[0].value() == 0x1p300);
}

} // namespace viva::kernels::testing
