#include "kernels/mxfp4_ggml.hpp"

#include "kernels/blockwise.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/mxfp4_ggml.cpp"
#include <hwy/foreach_target.h>

#include "kernels/mxfp4-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

struct mxfp4_ggml_format {
  static constexpr std::size_t block_values = mxfp4_ggml::block_values;
  static constexpr std::size_t joined = 1;
  static constexpr bool multiplies = true;

  /// The exponent field, but for the few ulp below a power of two where a logarithm may round up.
  HWY_INLINE void scale(vf32 amax, vi32& code, vf32& factor) const {
    const di32 di;
    const auto bits = hn::BitCast(di, amax);
    code = hn::Max(hn::Sub(hn::ShiftRight<23>(bits), hn::Set(di, 2)), hn::Zero(di));
    const auto near = hn::Gt(hn::And(bits, hn::Set(di, 0x7FFFFF)), hn::Set(di, 0x7FFF00));
    if (HWY_UNLIKELY(!hn::AllFalse(di, near)))
      code = settled(amax);
    factor = mxfp4_factor(code);
  }
  static HWY_NOINLINE vi32 settled(vf32 amax) {
    HWY_ALIGN float each[hn::MaxLanes(df32())];
    HWY_ALIGN std::int32_t code[hn::MaxLanes(df32())];
    hn::Store(amax, df32(), each);
    for (std::size_t i = 0; i < lanes(); ++i)
      code[i] = mxfp4_ggml::scale_code_of(each[i]);
    return hn::Load(di32(), code);
  }
  template <class Source>
  HWY_INLINE void refine(Source, const std::byte*, std::size_t, fp4_scales&) const {}
  HWY_INLINE vi32 code(vf32 x, vf32 factor) const {
    return e2m1_towards_zero_codes(hn::Mul(x, factor));
  }
#if VIVA_E2M1_BORDERS
  static constexpr auto ties = e2m1_ties::towards_zero;
  HWY_INLINE vf32 borders(vf32) const {
    return e2m1_middles.load();
  }
#endif
};

} // namespace

status mxfp4_ggml_encode(const matrix& in, std::byte* out) {
  return fp4_encode_blocks(mxfp4_ggml_format{}, in, out);
}

bool mxfp4_ggml_decode(const std::byte* in, std::size_t blocks, float* out) {
  auto largest = hn::Zero(di32());
  const auto load = [&](const std::byte* scales, std::size_t count, float* to) {
    e8m0_scales(scales, count, largest, to);
  };
  fp4_decode_blocks<mxfp4_ggml::block_values, 1>(in, blocks, load, out);
  return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), 255)));
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(mxfp4_ggml_encode);
HWY_EXPORT(mxfp4_ggml_decode);

namespace mxfp4_ggml {

namespace {

constexpr std::size_t half = block_values / 2;

} // namespace

geometry shape(const recipe&, std::uint64_t) {
  return ggml_geometry(block_values, block_bytes);
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  std::byte* block = out[0];
  for (std::size_t first = 0; first < in.values(); first += block_values, block += block_bytes) {
    const auto code = scale_code_of(magnitude_max(in, first, block_values));
    const float scale = f32_from_e8m0(code);
    block[0] = static_cast<std::byte>(code);
    for (std::size_t j = 0; j < half; ++j) {
      const auto low = ggml_e2m1(value_of(in, first + j), scale);
      const auto high = ggml_e2m1(value_of(in, first + j + half), scale);
      block[1 + j] = static_cast<std::byte>(low | high << 4);
    }
  }
  return {};
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(mxfp4_ggml_encode)(in, out[0]);
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % block_values != 0)
    return {errc::bad_shape};
  const std::byte* block = in[0];
  for (std::size_t b = 0; b < rows * cols / block_values; ++b, block += block_bytes)
    for (std::size_t j = 0; j < half; ++j) {
      const auto code = static_cast<std::uint8_t>(block[0]);
      if (code == 255)
        return {errc::malformed};
      const auto byte = static_cast<std::uint8_t>(block[1 + j]);
      float* to = out + b * block_values + j;
      to[0] = f32_from_e2m1(byte) * f32_from_e8m0(code);
      to[half] = f32_from_e2m1(static_cast<std::uint8_t>(byte >> 4)) * f32_from_e8m0(code);
    }
  return {};
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % block_values != 0)
    return {errc::bad_shape};
  const auto blocks = rows * cols / block_values;
  return HWY_DYNAMIC_DISPATCH(mxfp4_ggml_decode)(in[0], blocks, out) ? status{}
                                                                     : status{errc::malformed};
}

} // namespace mxfp4_ggml
} // namespace viva::kernels
#endif
