#include "kernels/mxfp4.hpp"

#include "kernels/blockwise.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/mxfp4.cpp"
#include <hwy/foreach_target.h>

#include "kernels/mxfp4-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

struct mxfp4_format {
  static constexpr std::size_t block_values = mxfp4::block_values;
  static constexpr bool multiplies = true;

  HWY_INLINE void scale(vf32 amax, vi32& code, vf32& factor) const {
    const di32 di;
    const auto raised = hn::Add(hn::BitCast(di, amax), hn::Set(di, 1 << 21));
    code = hn::Max(hn::Sub(hn::ShiftRight<23>(raised), hn::Set(di, 2)), hn::Zero(di));
    factor = mxfp4_factor(code);
  }
  template <class Source>
  HWY_INLINE void refine(Source, const std::byte*, std::size_t, fp4_scales&) const {}
  HWY_INLINE vi32 code(vf32 x, vf32 factor) const {
    return e2m1_codes(hn::Mul(x, factor));
  }
#if VIVA_E2M1_BORDERS
  static constexpr auto ties = e2m1_ties::to_even;
  HWY_INLINE vf32 borders(vf32) const {
    return e2m1_below.load();
  }
#endif
};

} // namespace

status mxfp4_encode(const matrix& in, std::byte* codes, std::byte* scales) {
  return fp4_encode_planes(mxfp4_format{}, in, codes, scales);
}

void mxfp4_decode_block(const std::byte* codes, float scale, float* out) {
  fp4_decode_pairs<mxfp4::block_values>(codes, scale, out);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(mxfp4_encode);
HWY_EXPORT(mxfp4_decode_block);

namespace mxfp4 {

namespace {

using decode_block_fn = void(const std::byte* codes, float scale, float* out);

status decode_by(std::size_t rows, std::size_t cols, std::span<const std::byte* const> in,
                 float* out, decode_block_fn* decode_block) {
  if (cols % block_values != 0)
    return {errc::bad_shape};
  for (std::size_t b = 0; b < rows * cols / block_values; ++b) {
    const auto code = static_cast<std::uint8_t>(in[1][b]);
    if (code == 255)
      return {errc::malformed};
    decode_block(in[0] + b * block_values / 2, f32_from_e8m0(code), out + b * block_values);
  }
  return {};
}

} // namespace

geometry shape(const recipe&, std::uint64_t) {
  using kind = plane::unit_kind;
  return {.planes = {plane{"codes", kind::values, 2, 1}, plane{"scales", kind::values, 32, 1}},
          .planes_count = 2};
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t b = 0; b < in.values() / block_values; ++b) {
    const std::size_t first = b * block_values;
    const auto code = scale_code_of(magnitude_max(in, first, block_values));
    const float scale = f32_from_e8m0(code);
    out[1][b] = static_cast<std::byte>(code);
    for (std::size_t i = first; i < first + block_values; i += 2) {
      const auto low = e2m1_from_f32(value_of(in, i) / scale);
      const auto high = e2m1_from_f32(value_of(in, i + 1) / scale);
      out[0][i / 2] = static_cast<std::byte>(low | high << 4);
    }
  }
  return {};
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(mxfp4_encode)(in, out[0], out[1]);
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  return decode_by(rows, cols, in, out, [](const std::byte* codes, float scale, float* to) {
    for (std::size_t i = 0; i < block_values; ++i) {
      const auto byte = static_cast<unsigned>(codes[i / 2]);
      to[i] = f32_from_e2m1(static_cast<std::uint8_t>(byte >> i % 2 * 4)) * scale;
    }
  });
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return decode_by(rows, cols, in, out, HWY_DYNAMIC_DISPATCH(mxfp4_decode_block));
}

} // namespace mxfp4
} // namespace viva::kernels
#endif
