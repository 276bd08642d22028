// The search for awq's scales: SIMD equals the reference on every target, sums do not depend on the
// cut, and the outputs of a layer become better by as much as activation-aware scaling promises.

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

/// A layer and what goes into it: 512 x 512, inputs lognormal over channels, five of them 20 times
/// as large.
struct layer {
  static constexpr std::size_t size = 512;
  std::vector<float> weight, mean_abs, mean_square;
};

layer make_layer(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  layer made;
  for (std::size_t i = 0; i < layer::size * layer::size; ++i)
    made.weight.push_back(static_cast<float>(0.05 * normal(random)));
  std::vector<double> sigma;
  for (std::size_t k = 0; k < layer::size; ++k)
    sigma.push_back(std::exp(0.1 * normal(random)));
  for (std::size_t i = 0; i < 5; ++i)
    sigma[(i * 97 + 13) % layer::size] = 20;
  for (const double s : sigma) {
    made.mean_abs.push_back(static_cast<float>(s * std::sqrt(2 / std::acos(-1.0))));
    made.mean_square.push_back(static_cast<float>(s * s));
  }
  return made;
}

/// Root of the mean square error of the outputs, in percent of the outputs' own; channels do not
/// correlate.
double output_error(const layer& of, const std::vector<float>& decoded,
                    std::span<const float> scales) {
  double error = 0, total = 0;
  for (std::size_t i = 0; i < of.weight.size(); ++i) {
    const double w = of.weight[i];
    const double x = of.mean_square[i % layer::size];
    const double e = static_cast<double>(decoded[i]) / scales[i % layer::size] - w;
    error += x * e * e;
    total += x * w * w;
  }
  return 100 * std::sqrt(error / total);
}

/// The same with symmetric integers of group 128, absmax / 7, and scales E|x|^ratio: the report's
/// figures.
double symmetric_error(const layer& of, double ratio) {
  std::vector<float> scales, decoded;
  for (const float x : of.mean_abs)
    scales.push_back(static_cast<float>(std::pow(x, ratio)));
  for (std::size_t first = 0; first < of.weight.size(); first += 128) {
    float amax = 0;
    for (std::size_t i = first; i < first + 128; ++i)
      amax = std::max(amax, std::fabs(of.weight[i] * scales[i % layer::size]));
    const float step = rounded_to(amax / 7, dtype::f16);
    for (std::size_t i = first; i < first + 128; ++i) {
      const float q = std::rint(of.weight[i] * scales[i % layer::size] / step);
      decoded.push_back(std::clamp(q, -7.0f, 7.0f) * step);
    }
  }
  return output_error(of, decoded, scales);
}

/// The output error of a layer whose columns are scaled and which is then encoded as `text` says.
double encoded_error(const layer& of, std::string_view text, std::span<const float> scales,
                     std::span<const float> channels) {
  auto scaled = of.weight;
  for (std::size_t i = 0; i < scaled.size(); ++i)
    scaled[i] *= scales[i % layer::size];
  auto with = recipe_of(text, dtype::f32);
  with.channels = channels;
  const auto source = make_tensor(scaled, dtype::f32, layer::size, layer::size);
  planes out(with, layer::size, layer::size);
  REQUIRE(with.row->encode_simd(with, source.view(), {}, out.pointers()) == status{});
  REQUIRE(with.row->decode_simd(with, layer::size, layer::size, {}, std::as_const(out).pointers(),
                                scaled.data())
          == status{});
  return output_error(of, scaled, scales);
}

awq::scale_table table_of(const layer& of, const recipe& with, const matrix& in) {
  std::vector<std::uint64_t> shares(in.cols);
  REQUIRE(awq::add_shares(with, in, shares.data()) == status{});
  return awq::make_scale_table(of.mean_abs, of.mean_square, shares, in.rows);
}

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

TEST_CASE("awq makes the outputs of a layer better", "[awq][quality]") {
  for (const std::uint32_t seed : {1u, 2u, 3u}) {
    const auto of = make_layer(seed);
    const auto with = recipe_of("awq:rtn", dtype::f32);
    const auto source = make_tensor(of.weight, dtype::f32, layer::size, layer::size);
    const auto table = table_of(of, with, source.view());
    awq::loss_sums losses;
    REQUIRE(awq::add_losses(with, source.view(), table, losses) == status{});
    const auto best = losses.best();
    const double plain = encoded_error(of, "awq:rtn", table.scales_of(0), {});
    const double half = encoded_error(of, "awq:rtn", table.scales_of(1 + awq::ratios / 2), {});
    const double searched = encoded_error(of, "awq:rtn", table.scales_of(best), {});
    const double clipped = encoded_error(of, "awq", table.scales_of(best), table.weights_of(best));
    INFO("plain " << plain << ", half " << half << ", searched " << searched << ", clipped "
                  << clipped << " %, candidate " << best);
    // The proxy is the output error itself where channels do not correlate.
    const double total = [&] {
      double sum = 0;
      for (std::size_t i = 0; i < of.weight.size(); ++i)
        sum += static_cast<double>(of.mean_square[i % layer::size]) * of.weight[i] * of.weight[i];
      return sum;
    }();
    CHECK(100 * std::sqrt(losses.sums[best].value() / total) == Approx(searched).epsilon(1e-4));
    CHECK(plain == Approx(10.0).margin(0.25));
    CHECK(half < 0.75 * plain);
    CHECK(searched < 0.66 * plain);
    CHECK(searched <= 7.4);
    CHECK(clipped < searched);
  }
}

TEST_CASE("scaling by what goes in gives the report's figures for symmetric integers",
          "[awq][quality]") {
  double plain = 0, half = 0, searched = 0;
  for (const std::uint32_t seed : {1u, 2u, 3u}) {
    const auto of = make_layer(seed);
    double best = HUGE_VAL;
    for (int r = 0; r < 20; ++r)
      best = std::min(best, symmetric_error(of, r / 20.0));
    plain += symmetric_error(of, 0) / 3;
    half += symmetric_error(of, 0.5) / 3;
    searched += best / 3;
  }
  INFO("plain " << plain << ", half " << half << ", searched " << searched << " %");
  CHECK(plain == Approx(11.9).margin(0.3));
  CHECK(half == Approx(9.5).margin(0.3));
  CHECK(searched == Approx(7.4).margin(0.3));
}

} // namespace viva::kernels::testing
