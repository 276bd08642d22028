#include "kernels/q8_0.hpp"

#include "kernels/blockwise.hpp"
#include "kernels/ggml_blocks.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/q8_0.cpp"
#include <hwy/foreach_target.h>

#include "kernels/ggml-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

struct q8_0_format {
  static constexpr std::size_t block_bytes = q8_0::block_bytes;
  static constexpr bool has_min = false;
  static constexpr std::size_t code_bytes = 32;

  template <class Source>
  static HWY_INLINE bool scales(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                ggml_scales& out) {
    HWY_ALIGN std::int32_t amax[ggml_batch] = {};
    fold_blocks<magnitude_fold>(from, in, ggml_block_values, blocks, amax);
    auto largest = hn::Zero(di32());
    for (std::size_t b = 0; b < blocks; b += lanes()) {
      const auto bits = hn::Load(di32(), amax + b);
      largest = hn::Max(largest, bits);
      hn::Store(hn::Div(hn::BitCast(df32(), bits), hn::Set(df32(), 127.0f)), df32(), out.d + b);
    }
    out.finish(blocks);
    return hn::AllTrue(di32(), hn::Lt(largest, hn::Set(di32(), infinity_bits)));
  }

  /// round(t), ties away: truncation of t + copysign(pred(0.5), t), exact for |t| < 2^22. Adding
  /// 0.5 itself would round 0.49999997 up.
  static HWY_INLINE vi32 rounded(vf32 t) {
    return truncated_i32(hn::Add(t, hn::CopySign(hn::Set(df32(), 0.49999997f), t)));
  }

  template <class Source>
  static HWY_INLINE void codes(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                               const ggml_scales& scales, std::uint8_t* HWY_RESTRICT out,
                               ggml_outbox& before) {
    constexpr std::size_t step = 4 * hn::MaxLanes(df32()); // values of one packed vector
    for (std::size_t i = 0; i < blocks * ggml_block_values; i += step) {
      prefetch_ahead(in + i * from.bytes, step * from.bytes);
      before.leave(1);
      vi32 q[4];
      VIVA_UNROLL(4)
      for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t at = i + k * lanes();
        const auto scale = hn::Set(df32(), scales.inverse[at / ggml_block_values]);
        q[k] = rounded(hn::Mul(load(from, in + at * from.bytes), scale));
      }
      hn::StoreU(hn::BitCast(du8(), pack_i8(q[0], q[1], q[2], q[3])), du8(), out + i);
    }
  }

  template <class Stores>
  static HWY_INLINE void values(const std::uint8_t* HWY_RESTRICT codes, float d,
                                float* HWY_RESTRICT out) {
    const hn::Rebind<std::int8_t, df32> quarter;
    const auto* q = reinterpret_cast<const std::int8_t*>(codes);
    VIVA_UNROLL(8)
    for (std::size_t j = 0; j < ggml_block_values; j += lanes()) {
      const auto wide = hn::PromoteTo(di32(), hn::LoadU(quarter, q + j));
      Stores::put(hn::Mul(hn::ConvertTo(df32(), wide), hn::Set(df32(), d)), df32(), out + j);
    }
  }
};

} // namespace

status q8_0_encode(const matrix& in, std::byte* out) {
  return ggml_encode<q8_0_format>(in, out);
}

status q8_0_decode(const std::byte* in, std::size_t blocks, float* out) {
  return ggml_decode<q8_0_format>(in, blocks, out);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(q8_0_encode);
HWY_EXPORT(q8_0_decode);

namespace q8_0 {

geometry shape(const recipe&, std::uint64_t) {
  return ggml_geometry(ggml_block_values, block_bytes);
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  return ggml_encode_reference(in, out[0], block_bytes, encode_block);
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  return ggml_decode_reference(in[0], rows, cols, out, block_bytes, is_whole, decode_value);
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  return ggml_encode_simd(in, out[0], HWY_DYNAMIC_DISPATCH(q8_0_encode));
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return ggml_decode_simd(in[0], rows, cols, out, HWY_DYNAMIC_DISPATCH(q8_0_decode));
}

} // namespace q8_0
} // namespace viva::kernels
#endif
