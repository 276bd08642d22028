#include "kernels/nvfp4_weighed.hpp"

#include "kernels/nvfp4.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/nvfp4_weighed.cpp"
#include <hwy/foreach_target.h>

#include "kernels/nvfp4-inl.hpp"

#include <array>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// Batches as fp4_encode has them, each with a copy of its columns' channels.
status nvfp4_weighed_encode(const recipe& with, const matrix& in, float global, std::byte* codes,
                            std::byte* scales) {
  using format = nvfp4_four_or_six_format<true>;
  constexpr std::size_t values = format::block_values, most = fp4_batch_of<format>();
  return with_source(in.type, [&](auto from) -> status {
    HWY_ALIGN float weights[most * values] = {};
    HWY_ALIGN std::byte rest[fp4_group * values * 4] = {};
    const std::size_t blocks = in.values() / values;
    std::size_t count = 0;
    for (std::size_t b = 0; b < blocks; b += count) {
      count = std::min(most, blocks - b);
      const bool whole = count >= fp4_group;
      count = whole ? count / fp4_group * fp4_group : count;
      for (std::size_t i = 0; i < count * values; i += values) // rows are whole blocks
        std::copy_n(with.channels.data() + (b * values + i) % in.cols, values, weights + i);
      const std::byte* at = in.data + b * values * from.bytes;
      if (!whole)
        copy_bytes(rest, at, count * values * from.bytes);
      HWY_ALIGN std::byte rest_codes[fp4_group * values / 2];
      std::byte rest_scales[fp4_group];
      if (!fp4_encode_pairs<format, cached_stores>(
              {{global}, weights}, from, whole ? at : rest, whole ? count : fp4_group,
              whole ? codes + b * values / 2 : rest_codes, whole ? scales + b : rest_scales))
        return refuse_not_finite(in);
      if (!whole) {
        copy_bytes(codes + b * values / 2, rest_codes, count * values / 2);
        copy_bytes(scales + b, rest_scales, count);
      }
    }
    return {};
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(nvfp4_weighed_encode);

namespace nvfp4_weighed {

namespace {

constexpr std::size_t values = nvfp4::block_values;

/// A block by one of its two scales.
struct trial {
  std::uint8_t scale = 0;
  std::array<std::int32_t, values> codes{};
  float cost = 0;
};

void try_block(const float* x, const float* w, float factor, std::int32_t* codes, float* costs) {
  for (std::size_t i = 0; i < values; ++i) {
    const float y = x[i] / factor;
    const auto code = e2m1_from_f32(y);
    const float error = magnitude(y) - magnitude(f32_from_e2m1(code));
    codes[i] = code;
    costs[i] = w[i] * (error * error);
  }
}

trial try_scale(const float* x, const float* w, float amax, float top, float global) {
  trial made;
  made.scale = nvfp4::scale_code_of(amax, top, global);
  std::array<float, values> e{};
  try_block(x, w, nvfp4::factor_of(made.scale, global), made.codes.data(), e.data());
  const auto t = [&](std::size_t j) { return (e[j] + e[j + 8]) + (e[j + 4] + e[j + 12]); };
  const float scale = f32_from_e4m3(made.scale);
  made.cost = ((t(0) + t(2)) + (t(1) + t(3))) * (scale * scale);
  return made;
}

} // namespace

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                        std::span<std::byte* const> out) noexcept {
  if (in.cols % values != 0 || with.channels.size() != in.cols)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  const float global = numbers.values[0];
  store_as(global, out[2]);
  for (std::size_t b = 0; b < in.values() / values; ++b) {
    const auto first = b * values;
    std::array<float, values> x;
    for (std::size_t i = 0; i < values; ++i)
      x[i] = value_of(in, first + i);
    const auto* w = with.channels.data() + first % in.cols;
    const auto amax = magnitude_max(in, first, values);
    const auto six = try_scale(x.data(), w, amax, 6.0f, global);
    const auto four = try_scale(x.data(), w, amax, 4.0f, global);
    const auto& best = four.cost < six.cost ? four : six;
    out[1][b] = static_cast<std::byte>(best.scale);
    for (std::size_t i = 0; i < values; i += 2)
      out[0][(first + i) / 2] = static_cast<std::byte>(best.codes[i] | best.codes[i + 1] << 4);
  }
  return {};
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % values != 0 || with.channels.size() != in.cols)
    return {errc::bad_shape};
  store_as(numbers.values[0], out[2]);
  return HWY_DYNAMIC_DISPATCH(nvfp4_weighed_encode)(with, in, numbers.values[0], out[0], out[1]);
}

} // namespace nvfp4_weighed
} // namespace viva::kernels
#endif
