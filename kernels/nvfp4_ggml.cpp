#include "kernels/nvfp4_ggml.hpp"

#include "kernels/blockwise.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/nvfp4_ggml.cpp"
#include <hwy/foreach_target.h>

#include "kernels/fp4-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

struct nvfp4_ggml_format {
  static constexpr std::size_t block_values = nvfp4_ggml::part_values;
  static constexpr std::size_t joined = nvfp4_ggml::block_values / nvfp4_ggml::part_values;
  static constexpr bool multiplies = false;

  /// ggml_ue4m3 of amax / 6; the factor of a zero is infinity, so every quotient is 0.
  HWY_INLINE void scale(vf32 amax, vi32& code, vf32& factor) const {
    const df32 d;
    const di32 di;
    const auto v = hn::Min(hn::Div(amax, hn::Set(d, 6.0f)), hn::Set(d, e4m3_max));
    const auto raised = hn::Add(hn::BitCast(di, v), hn::Set(di, 0x80000));
    const auto normal = hn::Sub(hn::ShiftRight<20>(raised), hn::Set(di, 120 << 3));
    const auto top = hn::Gt(normal, hn::Set(di, (15 << 3) - 1));
    const auto scaled = hn::Add(hn::Mul(v, hn::Set(d, 512.0f)), hn::Set(d, 0.5f)); // rounds twice
    const auto subnormal = hn::Min(truncated_i32(scaled), hn::Set(di, 7));
    const auto small = hn::RebindMask(di, hn::Lt(v, hn::Set(d, 0x1p-6f)));
    code = hn::IfThenElse(small, subnormal, hn::IfThenElse(top, hn::Set(di, 0x7E), normal));
    const auto zero = hn::RebindMask(d, hn::Eq(code, hn::Zero(di)));
    factor = hn::IfThenElse(zero, hn::Set(d, float_of(infinity_bits)), e4m3_values(code));
  }
  template <class Source>
  HWY_INLINE void refine(Source, const std::byte*, std::size_t, fp4_scales&) const {}
  HWY_INLINE vi32 code(vf32 x, vf32 factor) const {
    return e2m1_towards_zero_codes(hn::Div(x, factor));
  }
#if VIVA_E2M1_BORDERS
  static constexpr auto ties = e2m1_ties::towards_zero;
  /// Exact: a middle has three significant bits and d four. Infinite where d is 0.
  HWY_INLINE vf32 borders(vf32 factor) const {
    return hn::Mul(factor, e2m1_middles.load());
  }
  HWY_INLINE auto regular(vf32 amax, vf32, vf32 inverse) const {
    return hn::Le(hn::Mul(amax, inverse), hn::Set(df32(), e2m1_bins_max));
  }
#endif
};

} // namespace

status nvfp4_ggml_encode(const matrix& in, std::byte* out) {
  return fp4_encode_blocks(nvfp4_ggml_format{}, in, out);
}

bool nvfp4_ggml_decode(const std::byte* in, std::size_t parts, float* out) {
  auto largest = hn::Zero(di32());
  const auto load = [&](const std::byte* scales, std::size_t count, float* to) {
    each_scale_byte(scales, count, [&](std::size_t i, vi32 code) {
      largest = hn::Max(largest, code);
      hn::Store(e4m3_values(code), df32(), to + i);
    });
  };
  fp4_decode_blocks<nvfp4_ggml::part_values, nvfp4_ggml_format::joined>(in, parts, load, out);
  return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), 0x7F)));
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(nvfp4_ggml_encode);
HWY_EXPORT(nvfp4_ggml_decode);

namespace nvfp4_ggml {

geometry shape(const recipe&, std::uint64_t) {
  return ggml_geometry(block_values, block_bytes);
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t b = 0; b < in.values() / block_values; ++b) {
    float x[block_values];
    for (std::size_t j = 0; j < block_values; ++j)
      x[j] = value_of(in, b * block_values + j);
    encode_block(x, out[0] + b * block_bytes);
  }
  return {};
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(nvfp4_ggml_encode)(in, out[0]);
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % block_values != 0)
    return {errc::bad_shape};
  for (std::size_t b = 0; b < rows * cols / block_values; ++b) {
    const std::byte* block = in[0] + b * block_bytes;
    if (!is_whole(block))
      return {errc::malformed};
    for (std::size_t j = 0; j < block_values; ++j)
      out[b * block_values + j] = decode_value(block, j);
  }
  return {};
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % block_values != 0)
    return {errc::bad_shape};
  const auto count = rows * cols / part_values;
  return HWY_DYNAMIC_DISPATCH(nvfp4_ggml_decode)(in[0], count, out) ? status{}
                                                                    : status{errc::malformed};
}

} // namespace nvfp4_ggml
} // namespace viva::kernels
#endif
