#include "kernels/q4_0.hpp"

#include "kernels/blockwise.hpp"
#include "kernels/ggml_scale.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/q4_0.cpp"
#include <hwy/foreach_target.h>

#include "kernels/ggml-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

struct q4_0_format {
  static constexpr std::size_t block_values = q4_0::block_values;
  static constexpr std::size_t block_bytes = q4_0::block_bytes;
  static constexpr std::size_t code_bytes = 16;
  static constexpr std::size_t half = block_values / 2;

  /// d = extreme / -8. The extremes of both signs come from integer maxima; where they tie, which
  /// of them stands first is looked up, block by block.
  template <class Source>
  static HWY_INLINE bool scales(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                                ggml_scales& out) {
    const di32 di;
    const df32 d;
    HWY_ALIGN std::int32_t positive[ggml_batch] = {};
    HWY_ALIGN std::uint32_t negative[ggml_batch] = {};
    fold_blocks<positive_fold>(from, in, block_values, blocks, positive);
    fold_blocks<negative_fold>(from, in, block_values, blocks, negative);
    auto largest = hn::Zero(di);
    for (std::size_t b = 0; b < blocks; b += lanes()) {
      const auto signed_bits = hn::BitCast(di, hn::Load(du32(), negative + b));
      const auto above = hn::Max(hn::Load(di, positive + b), hn::Zero(di));
      const auto below = hn::IfThenElseZero(hn::Lt(signed_bits, hn::Zero(di)),
                                            hn::And(signed_bits, hn::Set(di, 0x7FFFFFFF)));
      const auto extreme = hn::IfThenElse(hn::Gt(below, above), signed_bits, above);
      largest = hn::Max(largest, hn::Max(above, below));
      hn::Store(hn::Mul(hn::BitCast(d, extreme), hn::Set(d, -0.125f)), d, out.d + b);
      const auto tie = hn::And(hn::Eq(above, below), hn::Gt(above, hn::Zero(di)));
      if (HWY_UNLIKELY(!hn::AllFalse(di, tie)))
        settle_ties(from, in, b, std::min(blocks, b + lanes()), out.d);
    }
    out.finish(blocks);
    return hn::AllTrue(di, hn::Lt(largest, hn::Set(di, infinity_bits)));
  }

  template <class Source>
  static HWY_NOINLINE void settle_ties(Source from, const std::byte* in, std::size_t first,
                                       std::size_t last, float* d) {
    for (std::size_t b = first; b < last; ++b)
      d[b] = q4_0::extreme_of({in, from.type, last, block_values}, b * block_values) * -0.125f;
  }

  template <class Source>
  static HWY_INLINE vi32 code(Source from, const std::byte* HWY_RESTRICT at, vf32 inverse) {
    const df32 d;
    const auto t = hn::Add(hn::Mul(load(from, at), inverse), hn::Set(d, 8.5f)); // rounds twice
    return truncated_i32(hn::Min(t, hn::Set(d, 15.5f)));
  }

  template <class Source>
  static HWY_INLINE void codes(Source from, const std::byte* HWY_RESTRICT in, std::size_t blocks,
                               const float* HWY_RESTRICT inverse, std::uint8_t* HWY_RESTRICT out) {
    constexpr std::size_t step = 4 * hn::MaxLanes(df32()); // bytes of one packed vector
    for (std::size_t i = 0; i < blocks * half; i += step) {
      vi32 pairs[4];
      for (std::size_t k = 0; k < 4; ++k) {
        const std::size_t at = i + k * lanes(); // byte `at` of the codes, half of them per block
        const std::size_t block = at / half;
        const auto scale = hn::Set(df32(), inverse[block]);
        const std::byte* x = in + (at + block * half) * from.bytes;
        const auto low = code(from, x, scale);
        const auto high = code(from, x + half * from.bytes, scale);
        pairs[k] = hn::Or(low, hn::ShiftLeft<4>(high));
      }
      hn::StoreU(pack_u8(pairs[0], pairs[1], pairs[2], pairs[3]), du8(), out + i);
    }
  }

  static HWY_INLINE void values(const std::byte* HWY_RESTRICT codes, float d,
                                float* HWY_RESTRICT out) {
    const hn::Rebind<std::uint8_t, df32> quarter;
    const auto* q = reinterpret_cast<const std::uint8_t*>(codes);
    const auto scaled = [&](vi32 code) {
      const auto centred = hn::ConvertTo(df32(), hn::Sub(code, hn::Set(di32(), 8)));
      return hn::Mul(centred, hn::Set(df32(), d));
    };
    for (std::size_t j = 0; j < half; j += lanes()) {
      const auto byte = hn::PromoteTo(di32(), hn::LoadU(quarter, q + j));
      hn::StoreU(scaled(hn::And(byte, hn::Set(di32(), 15))), df32(), out + j);
      hn::StoreU(scaled(hn::ShiftRight<4>(byte)), df32(), out + half + j);
    }
  }
};

} // namespace

status q4_0_encode(const matrix& in, std::byte* out) {
  return ggml_encode<q4_0_format>(in, out);
}

status q4_0_decode(const std::byte* in, std::size_t blocks, float* out) {
  return ggml_decode<q4_0_format>(in, blocks, out);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(q4_0_encode);
HWY_EXPORT(q4_0_decode);

namespace q4_0 {

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
    const float d = extreme_of(in, first) / -8.0f;
    const float inverse = ggml_inverse(d);
    store_as(ggml_f16(d), block);
    for (std::size_t j = 0; j < half; ++j) {
      const auto low = code_of(value_of(in, first + j) * inverse);
      const auto high = code_of(value_of(in, first + j + half) * inverse);
      block[2 + j] = static_cast<std::byte>(low | high << 4);
    }
  }
  return {};
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % block_values != 0)
    return {errc::bad_shape};
  const std::byte* block = in[0];
  for (std::size_t first = 0; first < rows * cols; first += block_values, block += block_bytes) {
    const float d = f32_from_f16(load_as<std::uint16_t>(block));
    if (!is_finite(d))
      return {errc::malformed};
    for (std::size_t j = 0; j < half; ++j) {
      const auto byte = static_cast<int>(block[2 + j]);
      out[first + j] = static_cast<float>((byte & 15) - 8) * d;
      out[first + j + half] = static_cast<float>((byte >> 4) - 8) * d;
    }
  }
  return {};
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % block_values != 0)
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(q4_0_encode)(in, out[0]);
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % block_values != 0)
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(q4_0_decode)(in[0], rows * cols / block_values, out);
}

} // namespace q4_0
} // namespace viva::kernels
#endif
