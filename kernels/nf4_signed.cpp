#include "kernels/nf4_signed.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/nf4_signed.cpp"
#include <hwy/foreach_target.h>

#include "kernels/nf4-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

bool nf4_signed_encode(const matrix& in, std::size_t block, std::byte* codes, std::byte* extremes) {
  return nf4_encode_with_f32<nf4_signed_book>(in, block, codes, extremes);
}

bool nf4_signed_decode(const std::byte* codes, const std::byte* extremes, std::size_t values,
                       std::size_t block, float* out) {
  return nf4_decode_values<nf4_signed_book>(source<dtype::f32>{}, codes, extremes, values, block,
                                            out);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(nf4_signed_encode);
HWY_EXPORT(nf4_signed_decode);

namespace nf4_signed {

geometry shape(const recipe& with, std::uint64_t cols) {
  using kind = plane::unit_kind;
  return {.planes = {plane{"codes", kind::values, 2, 1},
                     plane{"extremes", kind::values, with.block, 4}},
          .planes_count = 2,
          .rows_grain = rows_filling(with.block, cols)};
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for_each_block(in.values(), with.block, [&](std::size_t b, std::size_t first, std::size_t count) {
    const float extreme = extreme_of(in, first, count);
    store_as(extreme, out[1] + 4 * b);
    const float inverse = inverse_of(extreme);
    for (std::size_t i = first; i < first + count; i += 2) {
      const auto high = code_of(value_of(in, i) * inverse);
      const auto low =
          i + 1 < first + count ? code_of(value_of(in, i + 1) * inverse) : code_of_zero;
      out[0][i / 2] = static_cast<std::byte>(high << 4 | low);
    }
  });
  return {};
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  const std::size_t values = rows * cols;
  for (std::size_t i = 0; i < values; ++i) {
    const float extreme = load_as<float>(in[1] + 4 * (i / with.block));
    if (!is_finite(extreme))
      return {errc::malformed};
    const auto byte = static_cast<unsigned>(in[0][i / 2]);
    out[i] = levels[i % 2 == 0 ? byte >> 4 : byte & 15] * extreme;
  }
  return {};
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (HWY_DYNAMIC_DISPATCH(nf4_signed_encode)(in, with.block, out[0], out[1]))
    return {};
  return refuse_not_finite(in);
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  if (HWY_DYNAMIC_DISPATCH(nf4_signed_decode)(in[0], in[1], rows * cols, with.block, out))
    return {};
  return {errc::malformed};
}

} // namespace nf4_signed
} // namespace viva::kernels
#endif
