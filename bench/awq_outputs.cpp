#include "bench/awq_outputs.hpp"

#include "kernels/awq_search.hpp"
#include "kernels/registry.hpp"

#include <array>
#include <cmath>
#include <numbers>
#include <random>
#include <span>
#include <vector>

namespace viva::bench {
namespace {

constexpr std::size_t size = awq_layer::size;

kernels::matrix matrix_of(const std::vector<float>& values) {
  return {reinterpret_cast<const std::byte*>(values.data()), kernels::dtype::f32, size, size};
}

/// With columns scaled before they are encoded, and divided by the same again.
expected<double> error_of(const awq_layer& of, const char* method, std::span<const float> scales,
                          std::span<const float> channels) {
  auto with = kernels::parse_recipe(method, kernels::dtype::f32).value();
  with.channels = channels;
  auto scaled = of.weight;
  for (std::size_t i = 0; i < scaled.size(); ++i)
    scaled[i] *= scales[i % size];
  const auto shape = with.row->shape(with, size);
  std::vector<std::vector<std::byte>> planes;
  std::array<std::byte*, kernels::planes_max> to{};
  std::array<const std::byte*, kernels::planes_max> from{};
  for (std::size_t p = 0; p < shape.planes_count; ++p) {
    planes.emplace_back(shape.planes[p].bytes(0, size, size));
    from[p] = to[p] = planes.back().data();
  }
  const std::span good_to{to.data(), shape.planes_count};
  const std::span good_from{from.data(), shape.planes_count};
  if (with.row->encode_simd(with, matrix_of(scaled), {}, good_to) != status{}
      || with.row->decode_simd(with, size, size, {}, good_from, scaled.data()) != status{})
    return fail(errc::fault, std::string(method) + " refused the layer of this bench");
  return output_error(of, scaled, scales);
}

/// What `losses` say of the outputs' error; exact where inputs do not correlate.
double believed_error(const awq_layer& of, double losses) {
  double total = 0;
  for (std::size_t i = 0; i < of.weight.size(); ++i)
    total += static_cast<double>(of.mean_square[i % size]) * of.weight[i] * of.weight[i];
  return 100 * std::sqrt(losses / total);
}

} // namespace

awq_layer make_awq_layer(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  awq_layer made;
  made.weight.resize(size * size);
  for (auto& w : made.weight)
    w = static_cast<float>(0.05 * normal(random));
  std::array<double, size> deviation{};
  for (auto& each : deviation)
    each = std::exp(0.1 * normal(random));
  for (std::size_t i = 0; i < 5; ++i)
    deviation[(i * 97 + 13) % size] = 20;
  for (const double each : deviation) {
    made.mean_abs.push_back(static_cast<float>(each * std::sqrt(2 * std::numbers::inv_pi)));
    made.mean_square.push_back(static_cast<float>(each * each));
  }
  return made;
}

double output_error(const awq_layer& of, std::span<const float> decoded,
                    std::span<const float> scales) {
  double error = 0, total = 0;
  for (std::size_t i = 0; i < of.weight.size(); ++i) {
    const double w = of.weight[i], x = of.mean_square[i % size];
    const double e = static_cast<double>(decoded[i]) / scales[i % size] - w;
    error += x * e * e;
    total += x * w * w;
  }
  return 100 * std::sqrt(error / total);
}

expected<awq_output_errors> measure_awq_outputs(const awq_layer& of) {
  namespace awq = kernels::awq;
  const auto with = kernels::parse_recipe("awq:rtn", kernels::dtype::f32).value();
  std::vector<std::uint64_t> shares(size);
  static_cast<void>(awq::add_shares(with, matrix_of(of.weight), shares.data()));
  const auto table = awq::make_scale_table(of.mean_abs, of.mean_square, shares, size);
  awq::loss_sums losses;
  static_cast<void>(awq::add_losses(with, matrix_of(of.weight), table, losses));
  const auto best = losses.best();
  std::vector<float> half;
  for (const float x : of.mean_abs)
    half.push_back(std::sqrt(x));
  const auto rounded = error_of(of, "awq:rtn", table.scales_of(0), {});
  const auto by_half = error_of(of, "awq:rtn", half, {});
  const auto searched = error_of(of, "awq:rtn", table.scales_of(best), {});
  const auto clipped = error_of(of, "awq", table.scales_of(best), table.weights_of(best));
  for (const auto* each : {&rounded, &by_half, &searched, &clipped})
    if (!*each)
      return tl::unexpected(each->error());
  return awq_output_errors{*rounded, *by_half, *searched, *clipped,
                           believed_error(of, losses.sums[best].value())};
}

} // namespace viva::bench
