#include "kernels/nf4.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/nf4.cpp"
#include <hwy/foreach_target.h>

#include "kernels/nf4-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

bool nf4_encode(const matrix& in, std::size_t block, std::byte* codes, std::byte* absmax) {
  return nf4_encode_with_f32<nf4_book>(in, block, codes, absmax);
}

bool nf4_decode(const std::byte* codes, const std::byte* absmax, std::size_t values,
                std::size_t block, float* out) {
  return nf4_decode_values<nf4_book>(source<dtype::f32>{}, codes, absmax, values, block, out);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(nf4_encode);
HWY_EXPORT(nf4_decode);

namespace nf4 {

geometry shape(const recipe& with, std::uint64_t cols) {
  using kind = plane::unit_kind;
  return {
      .planes = {plane{"codes", kind::values, 2, 1}, plane{"absmax", kind::values, with.block, 4}},
      .planes_count = 2,
      .rows_grain = rows_filling(with.block, cols)};
}

void encode_blocks_reference(const matrix& in, std::size_t block, std::byte* codes,
                             float* absmax) noexcept {
  for_each_block(in.values(), block, [&](std::size_t b, std::size_t first, std::size_t count) {
    absmax[b] = magnitude_max(in, first, count);
    const float inverse = inverse_of(absmax[b]);
    for (std::size_t i = first; i < first + count; i += 2) {
      const auto high = code_of(value_of(in, i) * inverse);
      const auto low =
          i + 1 < first + count ? code_of(value_of(in, i + 1) * inverse) : code_of_zero;
      codes[i / 2] = static_cast<std::byte>(high << 4 | low);
    }
  });
}

void decode_blocks_reference(const std::byte* codes, const float* absmax, std::size_t values,
                             std::size_t block, float* out) noexcept {
  for (std::size_t i = 0; i < values; ++i) {
    const auto byte = static_cast<unsigned>(codes[i / 2]);
    out[i] = levels[i % 2 == 0 ? byte >> 4 : byte & 15] * absmax[i / block];
  }
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for_each_block(in.values(), with.block, [&](std::size_t b, std::size_t first, std::size_t count) {
    float absmax = 0;
    const matrix one{in.data + first * bytes_of(in.type), in.type, 1, count};
    encode_blocks_reference(one, with.block, out[0] + first / 2, &absmax);
    store_as(absmax, out[1] + 4 * b);
  });
  return {};
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  const std::size_t values = rows * cols;
  for (std::size_t b = 0; b < blocks_in(values, with.block); ++b)
    if (!is_finite(load_as<float>(in[1] + 4 * b)))
      return {errc::malformed};
  for_each_block(values, with.block, [&](std::size_t b, std::size_t first, std::size_t count) {
    const float absmax = load_as<float>(in[1] + 4 * b);
    decode_blocks_reference(in[0] + first / 2, &absmax, count, with.block, out + first);
  });
  return {};
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (HWY_DYNAMIC_DISPATCH(nf4_encode)(in, with.block, out[0], out[1]))
    return {};
  return refuse_not_finite(in);
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  const bool finite = HWY_DYNAMIC_DISPATCH(nf4_decode)(in[0], in[1], rows * cols, with.block, out);
  return finite ? status{} : status{errc::malformed};
}

} // namespace nf4
} // namespace viva::kernels
#endif
