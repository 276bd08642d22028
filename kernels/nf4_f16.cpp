#include "kernels/nf4_f16.hpp"

#include "kernels/nf4.hpp"
#include "kernels/scalar.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/nf4_f16.cpp"
#include <hwy/foreach_target.h>

#include "kernels/nf4-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

bool nf4_f16_encode(const matrix& in, std::size_t block, std::byte* codes, std::byte* absmax) {
  const auto put = [&](std::size_t first, const float* scales, std::size_t blocks) {
    HWY_ALIGN std::byte bits[32 * 2];
    for (std::size_t b = 0; b < blocks; b += lanes())
      store_u16(f16_bits(hn::Min(hn::Load(df32(), scales + b), hn::Set(df32(), 65504.0f))),
                bits + 2 * b);
    std::memcpy(absmax + 2 * first, bits, 2 * blocks);
  };
  return with_source(in.type, [&](auto from) {
    return nf4_encode_values<nf4_book>(from, in.data, in.values(), block, codes, put);
  });
}

bool nf4_f16_decode(const std::byte* codes, const std::byte* absmax, std::size_t values,
                    std::size_t block, float* out) {
  return nf4_decode_values<nf4_book>(source<dtype::f16>{}, codes, absmax, values, block, out);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(nf4_f16_encode);
HWY_EXPORT(nf4_f16_decode);

namespace nf4_f16 {

namespace {

constexpr std::size_t part_values = std::size_t{32} << 10; ///< Whole blocks of every size.
constexpr std::size_t part_blocks = part_values / 32;
constexpr float largest_f16 = 65504;

/// f32 scales of one part, on their way to or from f16.
using part_scales = std::array<float, part_blocks>;

std::size_t blocks_of(std::size_t values, std::size_t block) noexcept {
  return (values + block - 1) / block;
}

} // namespace

geometry shape(const recipe& with, std::uint64_t cols) {
  auto made = nf4::shape(with, cols);
  made.planes[1].unit_bytes = 2;
  return made;
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  part_scales absmax;
  const auto width = bytes_of(in.type);
  for (std::size_t first = 0; first < in.values(); first += part_values) {
    const std::size_t count = std::min(part_values, in.values() - first);
    const matrix part{in.data + first * width, in.type, 1, count};
    const std::array planes{out[0] + first / 2, reinterpret_cast<std::byte*>(absmax.data())};
    if (auto done = nf4::encode_reference(with, part, {}, planes); !done) {
      done.position += first;
      return done;
    }
    const auto blocks = blocks_of(count, with.block);
    for (std::size_t b = 0; b < blocks; ++b)
      absmax[b] = std::min(absmax[b], largest_f16);
    store_f32(absmax.data(), dtype::f16, blocks, out[1] + first / with.block * 2);
  }
  return {};
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (HWY_DYNAMIC_DISPATCH(nf4_f16_encode)(in, with.block, out[0], out[1]))
    return {};
  return refuse_not_finite(in);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  for (std::size_t first = 0; first < rows * cols; first += with.block) {
    const std::size_t count = std::min<std::size_t>(with.block, rows * cols - first);
    const float absmax = f32_from_f16(load_as<std::uint16_t>(in[1] + first / with.block * 2));
    if (!is_finite(absmax))
      return {errc::malformed};
    nf4::decode_blocks_reference(in[0] + first / 2, &absmax, count, with.block, out + first);
  }
  return {};
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return HWY_DYNAMIC_DISPATCH(nf4_f16_decode)(in[0], in[1], rows * cols, with.block, out)
             ? status{}
             : status{errc::malformed};
}

} // namespace nf4_f16
} // namespace viva::kernels
#endif
