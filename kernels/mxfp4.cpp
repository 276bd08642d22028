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

bool mxfp4_decode(const std::byte* codes, const std::byte* scales, std::size_t blocks, float* out) {
  auto largest = hn::Zero(di32());
  const auto load = [&](std::size_t first, std::size_t count, float* to) {
    e8m0_scales(scales + first, count, largest, to);
  };
  fp4_decode_planes<mxfp4::block_values>(codes, blocks, load, out);
  return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), 255)));
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(mxfp4_encode);
HWY_EXPORT(mxfp4_decode);

namespace mxfp4 {

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
    float x[block_values];
    for (std::size_t i = 0; i < block_values; ++i)
      x[i] = value_of(in, first + i);
    out[1][b] = static_cast<std::byte>(encode_block(x, out[0] + first / 2));
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
  if (cols % block_values != 0)
    return {errc::bad_shape};
  for (std::size_t i = 0; i < rows * cols; ++i) {
    const auto code = static_cast<std::uint8_t>(in[1][i / block_values]);
    if (code == 255)
      return {errc::malformed};
    const auto byte = static_cast<unsigned>(in[0][i / 2]);
    out[i] = f32_from_e2m1(static_cast<std::uint8_t>(byte >> i % 2 * 4)) * f32_from_e8m0(code);
  }
  return {};
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % block_values != 0)
    return {errc::bad_shape};
  const auto blocks = rows * cols / block_values;
  return HWY_DYNAMIC_DISPATCH(mxfp4_decode)(in[0], in[1], blocks, out) ? status{}
                                                                       : status{errc::malformed};
}

} // namespace mxfp4
} // namespace viva::kernels
#endif
