#include "kernels/normal_theory.hpp"

#include "kernels/awq.hpp"
#include "kernels/fp8.hpp"
#include "kernels/ggml_fp4.hpp"
#include "kernels/int4.hpp"
#include "kernels/minifloat.hpp"
#include "kernels/mxfp4.hpp"
#include "kernels/mxfp4_ggml.hpp"
#include "kernels/nf4.hpp"
#include "kernels/nf4_signed.hpp"
#include "kernels/normal_blocks.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace viva::kernels {

namespace normal_theory {

namespace {

/// SQNR of values whose mean square is 1.
double db(double error) {
  return -10 * std::log10(error);
}

/// One way, by the largest magnitude: `quantize(x, a)`.
template <class Quantize>
double error_of(const population& from, std::uint64_t block, const Quantize& quantize) {
  return error_by_magnitude(from, block, 1, [&quantize](double a) -> decoded_fn {
    return [&quantize, a](double x, std::span<double> decoded) { decoded[0] = quantize(x, a); };
  });
}

/// Integers from -`below` to `above`, the largest magnitude at `steps` of them. Scales are taken as
/// exact: their rounding is far below half a step.
double uniform_error(const population& from, std::uint64_t block, double steps, double below,
                     double above) {
  return error_of(from, block, [=](double x, double a) {
    const double scale = a / steps;
    return std::clamp(std::rint(x / scale), -below, above) * scale;
  });
}
double uniform_db(std::uint64_t block, double steps, double below, double above) {
  return db(uniform_error(normal, block, steps, below, above));
}

/// GGUF's integers of one signed extreme: it has the code 0 of 2 `half`.
double extreme_db(double half) {
  return normal_sqnr_db(32, [=](double x, double a) {
    const double d = a / -half;
    return (std::min(2 * half - 1, std::trunc(x / d + half + 0.5)) - half) * d;
  });
}

/// GGUF's integers above a minimum, up to `steps`.
double above_min_db(double steps) {
  return db(error_by_range(normal, 32, 1, [=](double lo, double hi) -> decoded_fn {
    const double d = (hi - lo) / steps;
    return [=](double x, std::span<double> decoded) {
      decoded[0] = std::min(steps, std::trunc((x - lo) / d + 0.5)) * d + lo;
    };
  }));
}

/// A group of int4: its scale and zero point before any search.
struct int4_group {
  double scale, zero;

  double level(double x, double factor) const {
    return std::clamp(std::rint(x / (factor * scale)), -8 - zero, 7 - zero);
  }
};

int4_group int4_group_of(std::uint32_t flags, double lo, double hi) {
  if ((flags & kernels::int4::asym) == 0)
    return {std::max(-lo, hi) / ((flags & kernels::int4::absmax) != 0 ? 7 : 7.5), 0};
  const double min = std::min(lo, 0.0);
  const double scale = (std::max(hi, 0.0) - min) / 15;
  return {scale, std::rint(std::clamp(-8 - min / scale, -8.0, 7.0))};
}

/// Scales of every factor that the search tries, each the least squares of expected sums.
std::array<double, kernels::int4::factors_count> refitted(const population& from,
                                                          std::uint64_t block, double lo, double hi,
                                                          const int4_group& group) {
  constexpr std::size_t count = kernels::int4::factors_count;
  std::array<double, count> product{}, square{};
  const auto add = [&](double x, double weight) {
    for (std::size_t j = 0; j < count; ++j) {
      const double level = group.level(x, 1 / double{kernels::int4::inverse_factor(j)});
      product[j] += weight * x * level;
      square[j] += weight * level * level;
    }
  };
  const auto others = static_cast<double>(block - 2);
  for_values_between(from, lo, hi, 300, [&](double x, double weight) { add(x, others * weight); });
  add(lo, 1);
  add(hi, 1);
  for (std::size_t j = 0; j < count; ++j)
    product[j] /= square[j];
  return product;
}

double int4_error(const population& from, const recipe& with) {
  const std::uint32_t flags = with.flags;
  if ((flags & kernels::int4::search) != 0)
    return error_by_range(
        from, with.block, kernels::int4::factors_count, [&](double lo, double hi) -> decoded_fn {
          const auto group = int4_group_of(flags, lo, hi);
          return [group, scales = refitted(from, with.block, lo, hi, group)](
                     double x, std::span<double> decoded) {
            for (std::size_t j = 0; j < scales.size(); ++j)
              decoded[j] = group.level(x, 1 / double{kernels::int4::inverse_factor(j)}) * scales[j];
          };
        });
  if ((flags & kernels::int4::asym) != 0)
    return error_by_range(from, with.block, 1, [&](double lo, double hi) -> decoded_fn {
      return [group = int4_group_of(flags, lo, hi)](double x, std::span<double> decoded) {
        const double code = std::rint(std::clamp(x / group.scale + group.zero, -8.0, 7.0));
        decoded[0] = (code - group.zero) * group.scale;
      };
    });
  return (flags & kernels::int4::absmax) != 0 ? uniform_error(from, with.block, 7, 7, 7)
                                              : uniform_error(from, with.block, 7.5, 8, 7);
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

/// The scale of a block of nvfp4, `top` what its largest magnitude is mapped to.
double nvfp4_scale(double a, double top, double largest) {
  constexpr double tensor_max = 5; // of about a million values; it hardly matters
  const double global = largest / tensor_max;
  const auto code = e4m3_from_f32(static_cast<float>(std::min(global * a / top, 448.0)));
  return double{f32_from_e4m3(code)} / global;
}

template <class ScaleCode>
double e8m0_db(const ScaleCode& scale_code) {
  return normal_sqnr_db(32, [&](double x, double a) {
    const double scale = double{f32_from_e8m0(scale_code(static_cast<float>(a)))};
    return e2m1(x / scale) * scale;
  });
}

template <class Levels, class Code>
double levels_error(const population& from, std::uint64_t block, const Levels& levels,
                    Code* code_of) {
  return error_of(from, block, [&](double x, double a) {
    return double{levels[code_of(static_cast<float>(x / a))]} * a;
  });
}

/// What four values lose: the squares of the smaller two. Of four magnitudes with distribution F
/// and density f = F' the smallest has the density 4 (1 - F)^3 f, the next 12 F (1 - F)^2 f.
double lost_of_four() {
  constexpr double step = 0.001;
  double lost = 0;
  for (double x = step / 2; x < 8; x += step) {
    const double inside = normal.inside(x), outside = 1 - inside;
    const double density = 4 * outside * outside * outside + 12 * inside * outside * outside;
    lost += density * 2 * normal.density(x) * x * x * step;
  }
  return lost;
}

/// Of a stack that errs so on what it keeps.
double stack_db(double error_of_kept) {
  return db((lost_of_four() + 2 * error_of_kept) / 4);
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
  return db(int4_error(normal, with));
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
  return db(levels_error(normal, with.block, kernels::nf4::levels, kernels::nf4::code_of));
}
double nf4_signed(const recipe& with, std::uint64_t, std::uint64_t) {
  return db(
      levels_error(normal, with.block, kernels::nf4_signed::levels, kernels::nf4_signed::code_of));
}

double nvfp4(const recipe&, std::uint64_t, std::uint64_t) {
  return normal_sqnr_db(16, [](double x, double a) {
    const double scale = nvfp4_scale(a, 6, 448 * 6);
    return scale == 0 ? 0 : e2m1(x / scale) * scale;
  });
}

double nvfp4_four_or_six(const recipe&, std::uint64_t, std::uint64_t) {
  return db(error_by_magnitude(normal, 16, 2, [](double a) -> decoded_fn {
    const double six = nvfp4_scale(a, 6, 256 * 6), four = nvfp4_scale(a, 4, 256 * 6);
    return [=](double x, std::span<double> decoded) {
      decoded[0] = e2m1(x / six) * six;
      decoded[1] = e2m1(x / four) * four;
    };
  }));
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
double q4_1(const recipe&, std::uint64_t, std::uint64_t) {
  return above_min_db(15);
}
double q5_0(const recipe&, std::uint64_t, std::uint64_t) {
  return extreme_db(16);
}

double q5_1(const recipe&, std::uint64_t, std::uint64_t) {
  return above_min_db(31);
}

double awq(const recipe& with, std::uint64_t, std::uint64_t) {
  const bool clips = (with.flags & (kernels::awq::no_clip | kernels::awq::rtn)) == 0;
  const std::size_t ways = clips ? kernels::awq::shrinks : 1;
  return db(error_by_range(normal, with.block, ways, [](double lo, double hi) -> decoded_fn {
    return [lo = std::min(lo, 0.0), hi = std::max(hi, 0.0)](double x, std::span<double> decoded) {
      for (std::size_t i = 0; i < decoded.size(); ++i) {
        const double c = std::max(-lo, hi) * (20 - static_cast<double>(i)) / 20;
        const double min = std::max(lo, -c), scale = (std::min(hi, c) - min) / 15;
        const double zero = std::clamp(-std::rint(min / scale), 0.0, 15.0);
        decoded[i] = (std::clamp(std::rint(x / scale) + zero, 0.0, 15.0) - zero) * scale;
      }
    };
  }));
}

double sparse24(const recipe&, std::uint64_t, std::uint64_t) {
  return stack_db(0);
}
double sparse24_int8(const recipe&, std::uint64_t, std::uint64_t cols) {
  return stack_db(uniform_error(kept_of_four, cols / 2, 127.5, 128, 127));
}
double sparse24_nf4(const recipe& with, std::uint64_t, std::uint64_t) {
  return stack_db(
      levels_error(kept_of_four, with.block, kernels::nf4::levels, kernels::nf4::code_of));
}
double sparse24_int4(const recipe& with, std::uint64_t, std::uint64_t) {
  return stack_db(int4_error(kept_of_four, with));
}

} // namespace normal_theory

double normal_sqnr_db(std::uint64_t block,
                      const std::function<double(double x, double a)>& quantize) {
  using namespace normal_theory;
  return db(error_of(normal, block, quantize));
}

} // namespace viva::kernels
