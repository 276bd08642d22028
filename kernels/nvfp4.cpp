#include "kernels/nvfp4.hpp"

#include "kernels/blockwise.hpp"
#include "kernels/nvfp4_weighed.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/nvfp4.cpp"
#include <hwy/foreach_target.h>

#include "kernels/nvfp4-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

status nvfp4_encode(const matrix& in, float global, std::byte* codes, std::byte* scales) {
  return fp4_encode_planes(nvfp4_format{global}, in, codes, scales);
}

status nvfp4_four_or_six_encode(const matrix& in, float global, std::byte* codes,
                                std::byte* scales) {
  return fp4_encode_planes(nvfp4_four_or_six_format<false>{{global}}, in, codes, scales);
}

bool nvfp4_decode(const std::byte* codes, const std::byte* scales, float global, std::size_t blocks,
                  float* out) {
  auto largest = hn::Zero(di32());
  const auto load = [&](std::size_t first, std::size_t count, float* to) {
    each_scale_byte(scales + first, count, [&](std::size_t i, vi32 code) {
      largest = hn::Max(largest, hn::And(code, hn::Set(di32(), 0x7F)));
      hn::Store(hn::Div(e4m3_values(code), hn::Set(df32(), global)), df32(), to + i);
    });
  };
  fp4_decode_planes<nvfp4::block_values>(codes, blocks, load, out);
  return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), 0x7F)));
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(nvfp4_encode);
HWY_EXPORT(nvfp4_four_or_six_encode);
HWY_EXPORT(nvfp4_decode);

namespace nvfp4 {

namespace {

/// Encodes by choose(x): the code of each block's scale.
template <class Choose>
status encode_by(const matrix& in, float global, std::span<std::byte* const> out,
                 const Choose& choose) {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t b = 0; b < in.values() / block_values; ++b) {
    const std::size_t first = b * block_values;
    float x[block_values];
    for (std::size_t i = 0; i < block_values; ++i)
      x[i] = value_of(in, first + i);
    const std::uint8_t code = choose(x);
    out[1][b] = static_cast<std::byte>(code);
    put_codes(x, code, global, out[0] + first / 2);
  }
  store_as(global, out[2]);
  return {};
}

/// What both paths refuse before they decode.
status check_decode(std::size_t cols, float global) noexcept {
  if (cols % block_values != 0)
    return {errc::bad_shape};
  return is_finite(global) && global != 0 ? status{} : status{errc::malformed};
}

} // namespace

geometry shape(const recipe&, std::uint64_t) {
  using kind = plane::unit_kind;
  return {.planes = {plane{"codes", kind::values, 2, 1}, plane{"scales", kind::values, 16, 1},
                     plane{"global_scale", kind::tensor, 0, 4}},
          .planes_count = 3};
}

tensor_numbers survey_finish(const recipe&, const survey& found) {
  return {{global_scale_of(found.max, e4m3_max * e2m1_max), 0.0f}};
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers& numbers,
                        std::span<std::byte* const> out) noexcept {
  const float global = numbers.values[0];
  return encode_by(in, global, out, [&](const float* x) {
    return scale_code_of(magnitude_max(x, block_values), e2m1_max, global);
  });
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers& numbers,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  store_as(numbers.values[0], out[2]);
  return HWY_DYNAMIC_DISPATCH(nvfp4_encode)(in, numbers.values[0], out[0], out[1]);
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  const auto global = load_as<float>(in[2]);
  if (const auto good = check_decode(cols, global); !good)
    return good;
  for (std::size_t i = 0; i < rows * cols; ++i) {
    const auto code = static_cast<std::uint8_t>(in[1][i / block_values]);
    if ((code & 0x7F) == 0x7F)
      return {errc::malformed};
    const auto byte = static_cast<unsigned>(in[0][i / 2]);
    out[i] = f32_from_e2m1(static_cast<std::uint8_t>(byte >> i % 2 * 4)) * factor_of(code, global);
  }
  return {};
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  const auto global = load_as<float>(in[2]);
  if (const auto good = check_decode(cols, global); !good)
    return good;
  const auto blocks = rows * cols / block_values;
  return HWY_DYNAMIC_DISPATCH(nvfp4_decode)(in[0], in[1], global, blocks, out)
             ? status{}
             : status{errc::malformed};
}

} // namespace nvfp4

namespace nvfp4_four_or_six {

tensor_numbers survey_finish(const recipe&, const survey& found) {
  return {{nvfp4::global_scale_of(found.max, 256.0f * e2m1_max), 0.0f}};
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                        std::span<std::byte* const> out) noexcept {
  if (!with.channels.empty())
    return nvfp4_weighed::encode_reference(with, in, numbers, out);
  const float global = numbers.values[0];
  return nvfp4::encode_by(in, global, out, [&](const float* x) {
    return nvfp4::cheaper_scale(x, nullptr, global);
  });
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                   std::span<std::byte* const> out) noexcept {
  if (!with.channels.empty())
    return nvfp4_weighed::encode_simd(with, in, numbers, out);
  if (in.cols % nvfp4::block_values != 0)
    return {errc::bad_shape};
  store_as(numbers.values[0], out[2]);
  return HWY_DYNAMIC_DISPATCH(nvfp4_four_or_six_encode)(in, numbers.values[0], out[0], out[1]);
}

} // namespace nvfp4_four_or_six
} // namespace viva::kernels
#endif
