#include "kernels/q4_1.hpp"

#include "kernels/blockwise.hpp"
#include "kernels/ggml_blocks.hpp"
#include "kernels/ggml_weighed.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/q4_1.cpp"
#include <hwy/foreach_target.h>

#include "kernels/ggml-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

struct q4_1_format {
  static constexpr std::size_t block_bytes = q4_1::block_bytes;
  static constexpr bool has_min = true;
  static constexpr std::size_t code_bytes = 16;

  template <class Source>
  static HWY_INLINE bool scales(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                ggml_scales& out) {
    return ggml_range_scales(from, in, blocks, 15.0f, out);
  }

  template <class Source>
  static HWY_INLINE void codes(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                               const ggml_scales& scales, std::uint8_t* HWY_RESTRICT out,
                               ggml_outbox& before) {
    if (HWY_LIKELY(scales.regular))
      ggml_nibble_codes(from, in, blocks, out, before, [&](vf32 x, std::size_t b) {
        return ggml_code_above<true>(scales, x, b, 15);
      });
    else
      ggml_nibble_codes(from, in, blocks, out, before, [&](vf32 x, std::size_t b) {
        return ggml_code_above<false>(scales, x, b, 15);
      });
  }

  template <class Stores>
  static HWY_INLINE void values(const std::uint8_t* HWY_RESTRICT codes, float d, float min,
                                float* HWY_RESTRICT out) {
    ggml_each_nibble(codes, [&](std::size_t j, vi32 code) {
      const auto scaled = hn::Mul(hn::ConvertTo(df32(), code), hn::Set(df32(), d));
      Stores::put(hn::Add(scaled, hn::Set(df32(), min)), df32(), out + j); // rounds twice
    });
  }
};

} // namespace

status q4_1_encode(const matrix& in, std::byte* out) {
  return ggml_encode<q4_1_format>(in, out);
}

status q4_1_decode(const std::byte* in, std::size_t blocks, float* out) {
  return ggml_decode<q4_1_format>(in, blocks, out);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(q4_1_encode);
HWY_EXPORT(q4_1_decode);

namespace q4_1 {

geometry shape(const recipe&, std::uint64_t) {
  return ggml_geometry(ggml_block_values, block_bytes);
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (!with.channels.empty())
    return ggml_weighed::encode_reference(ggml_weighed::q4_1, with, in, out[0]);
  return ggml_encode_reference(in, out[0], block_bytes, encode_block);
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  return ggml_decode_reference(in[0], rows, cols, out, block_bytes, is_whole, decode_value);
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (!with.channels.empty())
    return ggml_weighed::encode_simd(ggml_weighed::q4_1, with, in, out[0]);
  return ggml_encode_simd(in, out[0], HWY_DYNAMIC_DISPATCH(q4_1_encode));
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return ggml_decode_simd(in[0], rows, cols, out, HWY_DYNAMIC_DISPATCH(q4_1_decode));
}

} // namespace q4_1
} // namespace viva::kernels
#endif
