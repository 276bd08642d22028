#include "kernels/q4_0.hpp"

#include "kernels/blockwise.hpp"
#include "kernels/ggml_scale.hpp"
#include "kernels/scalar.hpp"

namespace viva::kernels::q4_0 {

namespace {

constexpr std::size_t half = block_values / 2;

/// The value of largest magnitude among a block's; the first of equals.
float extreme_of(const matrix& in, std::size_t first) noexcept {
  float extreme = 0;
  for (std::size_t j = 0; j < block_values; ++j) {
    const float x = value_of(in, first + j);
    extreme = magnitude(x) > magnitude(extreme) ? x : extreme;
  }
  return extreme;
}

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

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                   std::span<std::byte* const> out) noexcept {
  return encode_reference(with, in, numbers, out);
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols,
                   const tensor_numbers& numbers, std::span<const std::byte* const> in,
                   float* out) noexcept {
  return decode_reference(with, rows, cols, numbers, in, out);
}

} // namespace viva::kernels::q4_0
