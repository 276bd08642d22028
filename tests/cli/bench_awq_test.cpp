// AWQ judged on a layer's outputs, as `viva bench report` prints it: they become better by as much
// as activation-aware scaling promises.

#include "bench/awq_outputs.hpp"
#include "kernels/convert.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>
#include <cmath>

using namespace viva;

namespace {

/// Of symmetric integers in groups of 128, absmax / 7, scales E|x|^ratio: the report's figures.
double symmetric_error(const bench::awq_layer& of, double ratio) {
  std::vector<float> scales, decoded;
  for (const float x : of.mean_abs)
    scales.push_back(static_cast<float>(std::pow(x, ratio)));
  const auto scaled = [&](std::size_t i) { return of.weight[i] * scales[i % of.size]; };
  for (std::size_t first = 0; first < of.weight.size(); first += 128) {
    float amax = 0;
    for (std::size_t i = first; i < first + 128; ++i)
      amax = std::max(amax, std::fabs(scaled(i)));
    const float step = kernels::f32_from_f16(kernels::f16_from_f32(amax / 7));
    for (std::size_t i = first; i < first + 128; ++i)
      decoded.push_back(std::clamp(std::rint(scaled(i) / step), -7.0f, 7.0f) * step);
  }
  return bench::output_error(of, decoded, scales);
}

} // namespace

TEST_CASE("awq makes the outputs of a layer better", "[bench][quality]") {
  for (const std::uint32_t seed : {1u, 2u, 3u}) {
    const auto found = bench::measure_awq_outputs(bench::make_awq_layer(seed));
    REQUIRE(found);
    INFO("rounded " << found->rounded << ", half " << found->half << ", searched "
                    << found->searched << ", clipped " << found->clipped << " %");
    CHECK(found->believed == Approx(found->searched).epsilon(1e-4));
    CHECK(found->rounded == Approx(10.0).margin(0.25));
    CHECK(found->half < 0.75 * found->rounded);
    CHECK(found->searched < 0.66 * found->rounded);
    CHECK(found->searched <= 7.4);
    CHECK(found->clipped < found->searched);
  }
}

TEST_CASE("scaling by what goes in gives the report's figures for symmetric integers",
          "[bench][quality]") {
  double plain = 0, half = 0, searched = 0;
  for (const std::uint32_t seed : {1u, 2u, 3u}) {
    const auto of = bench::make_awq_layer(seed);
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
