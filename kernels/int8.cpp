#include "kernels/int8.hpp"

#include "kernels/scalar.hpp"

namespace viva::kernels::int8 {

namespace {

float scale_of(float amax, dtype source) noexcept {
  const float scale = rounded_to(amax / 127.5f, source);
  return scale > 0 ? scale : zero_scale(source);
}

} // namespace

geometry shape(const recipe& with, std::uint64_t) {
  using kind = plane::unit_kind;
  const auto scale_bytes = static_cast<std::uint32_t>(bytes_of(with.source));
  return {.planes = {plane{"codes", kind::values, 1, 1}, plane{"scales", kind::row, 0, scale_bytes}},
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

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                   std::span<std::byte* const> out) noexcept {
  return encode_reference(with, in, numbers, out);
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols,
                   const tensor_numbers& numbers, std::span<const std::byte* const> in,
                   float* out) noexcept {
  return decode_reference(with, rows, cols, numbers, in, out);
}

} // namespace viva::kernels::int8
