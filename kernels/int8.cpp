#include "kernels/int8.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int8.cpp"
#include <hwy/foreach_target.h>

#include "kernels/decode-inl.hpp"
#include "kernels/int8-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

template <class Stores, class Source>
bool int8_encode_row(Source from, const std::byte* HWY_RESTRICT in, std::size_t cols,
                     std::byte* HWY_RESTRICT codes, std::byte* HWY_RESTRICT scale_out) {
  const auto amax = fold_row(from, in, cols);
  if (amax >= static_cast<std::int32_t>(infinity_bits))
    return false;
  const float scale = int8::scale_of(float_of(static_cast<std::uint32_t>(amax)), from.type);
  put_value(scale, from.type, scale_out, 0);
  int8_encode_values<Stores>(from, in, cols, scale, codes);
  return true;
}

} // namespace

status int8_encode(const matrix& in, std::span<std::byte* const> out) {
  return with_source(in.type, [&](auto from) -> status {
    // Rows of other widths do not all begin where a vector may be stored past the cache.
    const std::size_t bytes = in.cols % 64 == 0 ? in.values() : 0;
    return with_stores(out[0], bytes, [&](auto stores) -> status {
      for (std::size_t r = 0; r < in.rows; ++r)
        if (!int8_encode_row<decltype(stores)>(from, in.slice(r, 1).data, in.cols,
                                               out[0] + r * in.cols, out[1] + r * from.bytes))
          return refuse_not_finite(in);
      return {};
    });
  });
}

bool int8_decode(dtype type, std::size_t rows, std::size_t cols, const std::byte* codes,
                 const std::byte* scales, float* out) {
  return with_stores(out, aligned_row_bytes(rows, cols), [&](auto stores) {
    for (std::size_t r = 0; r < rows; ++r) {
      const float scale = value_of(scales, type, r);
      if (!is_finite(scale))
        return false;
      decode_signed_bytes<decltype(stores)>(codes + r * cols, cols, scale, out + r * cols);
    }
    return true;
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(int8_encode);
HWY_EXPORT(int8_decode);

namespace int8 {

geometry shape(const recipe& with, std::uint64_t) {
  using kind = plane::unit_kind;
  const auto scale_bytes = static_cast<std::uint32_t>(bytes_of(with.source));
  return {
      .planes = {plane{"codes", kind::values, 1, 1}, plane{"scales", kind::row, 0, scale_bytes}},
      .planes_count = 2};
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t r = 0; r < in.rows; ++r) {
    const float scale = scale_of(magnitude_max(in, r * in.cols, in.cols), in.type);
    put_value(scale, in.type, out[1], r);
    for (std::size_t i = r * in.cols; i < (r + 1) * in.cols; ++i)
      store_as(code_of(value_of(in, i), scale), out[0] + i);
  }
  return {};
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  return HWY_DYNAMIC_DISPATCH(int8_encode)(in, out);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  for (std::size_t r = 0; r < rows; ++r) {
    const float scale = value_of(in[1], with.source, r);
    if (!is_finite(scale))
      return {errc::malformed};
    for (std::size_t i = r * cols; i < (r + 1) * cols; ++i)
      out[i] = static_cast<float>(load_as<std::int8_t>(in[0] + i)) * scale;
  }
  return {};
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  const bool finite = HWY_DYNAMIC_DISPATCH(int8_decode)(with.source, rows, cols, in[0], in[1], out);
  return finite ? status{} : status{errc::malformed};
}

} // namespace int8
} // namespace viva::kernels
#endif
