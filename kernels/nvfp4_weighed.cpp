#include "kernels/nvfp4_weighed.hpp"

#include "kernels/nvfp4.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/nvfp4_weighed.cpp"
#include <hwy/foreach_target.h>

#include "kernels/minifloat-inl.hpp"

#include <array>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// The codes of a block by `factor`, and what each value's error costs.
void nvfp4_weighed_block(const float* HWY_RESTRICT x, const float* HWY_RESTRICT w, float factor,
                         std::int32_t* HWY_RESTRICT codes, float* HWY_RESTRICT costs) {
  const df32 d;
  for (std::size_t i = 0; i < nvfp4::block_values; i += lanes()) {
    const auto y = hn::Div(hn::LoadU(d, x + i), hn::Set(d, factor));
    const auto error = hn::Sub(hn::Abs(y), rounded_value(round_e2m1(y), 0x1p22f));
    hn::StoreU(e2m1_codes(y), di32(), codes + i);
    hn::StoreU(hn::Mul(hn::LoadU(d, w + i), hn::Mul(error, error)), d, costs + i);
  }
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(nvfp4_weighed_block);

namespace nvfp4_weighed {

namespace {

constexpr std::size_t values = nvfp4::block_values;

/// A block by one of its two scales.
struct trial {
  std::uint8_t scale = 0;
  std::array<std::int32_t, values> codes{};
  float cost = 0;
};

using block_fn = void(const float* x, const float* w, float factor, std::int32_t* codes,
                      float* costs);

void block_reference(const float* x, const float* w, float factor, std::int32_t* codes,
                     float* costs) {
  for (std::size_t i = 0; i < values; ++i) {
    const float y = x[i] / factor;
    const auto code = e2m1_from_f32(y);
    const float error = magnitude(y) - magnitude(f32_from_e2m1(code));
    codes[i] = code;
    costs[i] = w[i] * (error * error);
  }
}

trial try_scale(const float* x, const float* w, float amax, float top, float global,
                block_fn* block) {
  trial made;
  made.scale = nvfp4::scale_code_of(amax, top, global);
  std::array<float, values> e{};
  block(x, w, nvfp4::factor_of(made.scale, global), made.codes.data(), e.data());
  const auto t = [&](std::size_t j) { return (e[j] + e[j + 8]) + (e[j + 4] + e[j + 12]); };
  const float scale = f32_from_e4m3(made.scale);
  made.cost = ((t(0) + t(2)) + (t(1) + t(3))) * (scale * scale);
  return made;
}

status encode_by(const recipe& with, const matrix& in, float global,
                 std::span<std::byte* const> out, block_fn* block) {
  store_as(global, out[2]);
  for (std::size_t b = 0; b < in.values() / values; ++b) {
    const auto first = b * values;
    std::array<float, values> x;
    for (std::size_t i = 0; i < values; ++i)
      x[i] = value_of(in, first + i);
    const auto* w = with.channels.data() + first % in.cols;
    const auto amax = magnitude_max(in, first, values);
    const auto six = try_scale(x.data(), w, amax, 6.0f, global, block);
    const auto four = try_scale(x.data(), w, amax, 4.0f, global, block);
    const auto& best = four.cost < six.cost ? four : six;
    out[1][b] = static_cast<std::byte>(best.scale);
    for (std::size_t i = 0; i < values; i += 2)
      out[0][(first + i) / 2] = static_cast<std::byte>(best.codes[i] | best.codes[i + 1] << 4);
  }
  return {};
}

} // namespace

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                        std::span<std::byte* const> out) noexcept {
  if (in.cols % values != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  return encode_by(with, in, numbers.values[0], out, block_reference);
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % values != 0)
    return {errc::bad_shape};
  if (first_not_finite(in.data, in.type, in.values()) < in.values())
    return refuse_not_finite(in);
  return encode_by(with, in, numbers.values[0], out, HWY_DYNAMIC_DISPATCH(nvfp4_weighed_block));
}

} // namespace nvfp4_weighed
} // namespace viva::kernels
#endif
