#include "kernels/q5_0.hpp"

#include "kernels/blockwise.hpp"
#include "kernels/ggml_blocks.hpp"
#include "kernels/ggml_weighed.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/q5_0.cpp"
#include <hwy/foreach_target.h>

#include "kernels/ggml-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

struct q5_0_format {
  static constexpr std::size_t block_bytes = q5_0::block_bytes;
  static constexpr bool has_min = false;
  static constexpr std::size_t code_bytes = 20;

  template <class Source>
  static HWY_INLINE bool scales(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                ggml_scales& out) {
    return ggml_extreme_scales(from, in, blocks, -0.0625f, out);
  }

  template <class Source>
  static HWY_INLINE void codes(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                               const ggml_scales& scales, std::uint8_t* HWY_RESTRICT out,
                               ggml_outbox& before) {
    HWY_ALIGN std::uint8_t bytes[ggml_batch * ggml_block_values];
    ggml_byte_codes(from, in, blocks, bytes, before, [&](vf32 x, std::size_t b) {
      const auto scaled = hn::Mul(x, hn::Set(df32(), scales.inverse[b]));
      const auto t = hn::Add(scaled, hn::Set(df32(), 16.5f)); // rounds twice
      return truncated_i32(hn::Min(t, hn::Set(df32(), 31.5f)));
    });
    for (std::size_t b = 0; b < blocks; ++b, out += code_bytes) {
      ggml_store_fifth_bits(bytes + b * ggml_block_values, out);
      ggml_store_nibbles(bytes + b * ggml_block_values, out + 4);
    }
  }

  template <class Stores>
  static HWY_INLINE void values(const std::uint8_t* HWY_RESTRICT codes, float d,
                                float* HWY_RESTRICT out) {
    ggml_each_five_bits(codes, [&](std::size_t j, vi32 code) {
      const auto centred = hn::ConvertTo(df32(), hn::Sub(code, hn::Set(di32(), 16)));
      Stores::put(hn::Mul(centred, hn::Set(df32(), d)), df32(), out + j);
    });
  }
};

} // namespace

status q5_0_encode(const matrix& in, std::byte* out) {
  return ggml_encode<q5_0_format>(in, out);
}

status q5_0_decode(const std::byte* in, std::size_t blocks, float* out) {
  return ggml_decode<q5_0_format>(in, blocks, out);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(q5_0_encode);
HWY_EXPORT(q5_0_decode);

namespace q5_0 {

geometry shape(const recipe&, std::uint64_t) {
  return ggml_geometry(ggml_block_values, block_bytes);
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (!with.channels.empty())
    return ggml_weighed::encode_reference(ggml_weighed::q5_0, with, in, out[0]);
  return ggml_encode_reference(in, out[0], block_bytes, encode_block);
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  return ggml_decode_reference(in[0], rows, cols, out, block_bytes, is_whole, decode_value);
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (!with.channels.empty())
    return ggml_weighed::encode_simd(ggml_weighed::q5_0, with, in, out[0]);
  return ggml_encode_simd(in, out[0], HWY_DYNAMIC_DISPATCH(q5_0_encode));
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return ggml_decode_simd(in[0], rows, cols, out, HWY_DYNAMIC_DISPATCH(q5_0_decode));
}

} // namespace q5_0
} // namespace viva::kernels
#endif
