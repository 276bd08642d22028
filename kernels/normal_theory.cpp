#include "kernels/normal_theory.hpp"

#include "kernels/fp8.hpp"
#include "kernels/ggml_fp4.hpp"
#include "kernels/int4.hpp"
#include "kernels/minifloat.hpp"
#include "kernels/mxfp4.hpp"
#include "kernels/mxfp4_ggml.hpp"
#include "kernels/nf4.hpp"
#include "kernels/nf4_signed.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace viva::kernels {

namespace {

double phi(double x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}

/// Largest magnitude to integrate to: those of 2^40 normal values lie below.
constexpr double normal_max = 8;

} // namespace

double normal_sqnr_db(std::uint64_t block,
                      const std::function<double(double x, double a)>& quantize) {
  constexpr double a_step = 0.01;
  constexpr int x_steps = 4000; // midpoints of [-a, a]
  const double n = static_cast<double>(block);
  double weights = 0;
  double error = 0;
  for (double a = a_step / 2; a < normal_max; a += a_step) {
    const double inside = std::erf(a / std::numbers::sqrt2);
    const double weight = phi(a) * std::pow(inside, n - 1); // of a, but for a factor
    if (weight < 1e-12)
      continue;
    double sum = 0;
    double mass = 0;
    for (int i = 0; i < x_steps; ++i) {
      const double x = a * (2 * (i + 0.5) / x_steps - 1);
      const double distance = x - quantize(x, a);
      const double density = phi(x);
      sum += density * distance * distance;
      mass += density;
    }
    const double at_end = a - quantize(a, a);
    error += weight * (at_end * at_end + (n - 1) * sum / mass);
    weights += weight;
  }
  return 10 * std::log10(n * weights / error);
}

namespace normal_theory {

namespace {

/// Integers from -`below` to `above`, the largest magnitude at `steps` of them. Scales are taken as
/// exact: their rounding is far below half a step.
double uniform_db(std::uint64_t block, double steps, double below, double above) {
  return normal_sqnr_db(block, [=](double x, double a) {
    const double scale = a / steps;
    return std::clamp(std::rint(x / scale), -below, above) * scale;
  });
}

/// GGUF's integers of one signed extreme: it has the code 0 of 2 `half`.
double extreme_db(double half) {
  return normal_sqnr_db(32, [=](double x, double a) {
    const double d = a / -half;
    return (std::min(2 * half - 1, std::trunc(x / d + half + 0.5)) - half) * d;
  });
}

double fp8_db(std::uint64_t block) {
  return normal_sqnr_db(block, [](double x, double a) {
    const double scale = a / double{e4m3_max};
    return double{f32_from_e4m3(e4m3_from_f32(static_cast<float>(x / scale)))} * scale;
  });
}

double e2m1(double x) {
  return double{f32_from_e2m1(e2m1_from_f32(static_cast<float>(x)))};
}

template <class ScaleCode>
double e8m0_db(const ScaleCode& scale_code) {
  return normal_sqnr_db(32, [&](double x, double a) {
    const double scale = double{f32_from_e8m0(scale_code(static_cast<float>(a)))};
    return e2m1(x / scale) * scale;
  });
}

template <class Levels, class Code>
double levels_db(std::uint64_t block, const Levels& levels, Code* code_of) {
  return normal_sqnr_db(block, [&](double x, double a) {
    return double{levels[code_of(static_cast<float>(x / a))]} * a;
  });
}

} // namespace

double int8(const recipe&, std::uint64_t, std::uint64_t cols) {
  return uniform_db(cols, 127.5, 128, 127);
}
double int8_tensor(const recipe&, std::uint64_t rows, std::uint64_t cols) {
  return uniform_db(rows * cols, 127.5, 128, 127);
}
double int8_group(const recipe& with, std::uint64_t, std::uint64_t) {
  return uniform_db(with.block, 127.5, 128, 127);
}
double llm_int8(const recipe&, std::uint64_t, std::uint64_t cols) {
  return uniform_db(cols, 127, 127, 127);
}
double int4(const recipe& with, std::uint64_t, std::uint64_t) {
  if ((with.flags & (kernels::int4::asym | kernels::int4::search)) != 0)
    return std::numeric_limits<double>::quiet_NaN();
  return (with.flags & kernels::int4::absmax) != 0 ? uniform_db(with.block, 7, 7, 7)
                                                   : uniform_db(with.block, 7.5, 8, 7);
}
double fp8(const recipe&, std::uint64_t, std::uint64_t cols) {
  return fp8_db(cols);
}
double fp8_tensor(const recipe&, std::uint64_t rows, std::uint64_t cols) {
  return fp8_db(rows * cols);
}
double fp8_block(const recipe&, std::uint64_t rows, std::uint64_t cols) {
  constexpr std::uint64_t side = kernels::fp8::block_side; // smaller ones at the ends weigh little
  return fp8_db(std::min(rows, side) * std::min(cols, side));
}
double nf4(const recipe& with, std::uint64_t, std::uint64_t) {
  return levels_db(with.block, kernels::nf4::levels, kernels::nf4::code_of);
}
double nf4_signed(const recipe& with, std::uint64_t, std::uint64_t) {
  return levels_db(with.block, kernels::nf4_signed::levels, kernels::nf4_signed::code_of);
}

double nvfp4(const recipe&, std::uint64_t, std::uint64_t) {
  constexpr double tensor_max = 5; // of about a million values; it hardly matters
  constexpr double global = 448 * 6 / tensor_max;
  return normal_sqnr_db(16, [](double x, double a) {
    const auto code = e4m3_from_f32(static_cast<float>(std::min(global * a / 6, 448.0)));
    const double scale = double{f32_from_e4m3(code)} / global;
    return scale == 0 ? 0 : e2m1(x / scale) * scale;
  });
}

double nvfp4_ggml(const recipe&, std::uint64_t, std::uint64_t) {
  return normal_sqnr_db(16, [](double x, double a) {
    const float scale = f32_from_e4m3(ggml_ue4m3(static_cast<float>(a / 6)));
    return double{f32_from_e2m1(ggml_e2m1(static_cast<float>(x), scale))} * double{scale};
  });
}

double mxfp4(const recipe&, std::uint64_t, std::uint64_t) {
  return e8m0_db(kernels::mxfp4::scale_code_of);
}
double mxfp4_ggml(const recipe&, std::uint64_t, std::uint64_t) {
  return e8m0_db(kernels::mxfp4_ggml::scale_code_of);
}

double q8_0(const recipe&, std::uint64_t, std::uint64_t) {
  return uniform_db(32, 127, 127, 127);
}
double q4_0(const recipe&, std::uint64_t, std::uint64_t) {
  return extreme_db(8);
}
double q5_0(const recipe&, std::uint64_t, std::uint64_t) {
  return extreme_db(16);
}

double sparse24(const recipe&, std::uint64_t, std::uint64_t) {
  // Order statistics of four magnitudes with distribution F and density f = F': the smallest has
  // the density 4 (1 - F)^3 f, the next 12 F (1 - F)^2 f. Their squares are the error of four.
  constexpr double step = 0.001;
  double error = 0;
  for (double x = step / 2; x < normal_max; x += step) {
    const double inside = std::erf(x / std::numbers::sqrt2);
    const double outside = 1 - inside;
    const double density = 4 * outside * outside * outside + 12 * inside * outside * outside;
    error += density * 2 * phi(x) * x * x * step;
  }
  return 10 * std::log10(4 / error);
}

} // namespace normal_theory
} // namespace viva::kernels
