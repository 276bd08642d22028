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

geometry shape(const recipe&, std::uint64_t) {
  return ggml_geometry(block_values, block_bytes);
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  return ggml_encode_reference(in, out[0], block_bytes, encode_block);
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(mxfp4_ggml_encode)(in, out[0]);
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  return ggml_decode_reference(in[0], rows, cols, out, block_bytes, is_whole, decode_value);
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
