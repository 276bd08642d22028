#include "kernels/int8_tensor.hpp"

#include "kernels/int8.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int8_tensor.cpp"
#include <hwy/foreach_target.h>

#include "kernels/decode-inl.hpp"
#include "kernels/int8-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

status int8_tensor_encode(const matrix& in, float scale, std::byte* codes) {
  // In runs, so that the second look is into the cache; whole lines of codes but for the last.
  constexpr std::size_t run = 4096;
  return with_source(in.type, [&](auto from) -> status {
    return with_stores(codes, in.values() / run * run, [&](auto stores) -> status {
      for (std::size_t i = 0; i < in.values(); i += run) {
        const std::byte* at = in.data + i * from.bytes;
        const auto count = std::min(run, in.values() - i);
        const auto amax = fold_row(from, at, count);
        if (amax >= static_cast<std::int32_t>(infinity_bits))
          return refuse_not_finite(in);
        int8_encode_values<decltype(stores)>(from, at, count, scale, codes + i);
      }
      return {};
    });
  });
}

void int8_tensor_decode(const std::byte* codes, std::size_t count, float scale, float* out) {
  with_stores(out, count * sizeof(float), [&](auto stores) {
    decode_signed_bytes<decltype(stores)>(codes, count, scale, out);
    return true;
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(int8_tensor_encode);
HWY_EXPORT(int8_tensor_decode);

namespace int8_tensor {

geometry shape(const recipe& with, std::uint64_t) {
  using kind = plane::unit_kind;
  const auto scale_bytes = static_cast<std::uint32_t>(bytes_of(with.source));
  return {
      .planes = {plane{"codes", kind::values, 1, 1}, plane{"scale", kind::tensor, 0, scale_bytes}},
      .planes_count = 2};
}

tensor_numbers survey_finish(const recipe& with, const survey& found) {
  return {{int8::scale_of(found.max, with.source), 0.0f}};
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers& numbers,
                        std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  const float scale = numbers.values[0];
  put_value(scale, in.type, out[1], 0);
  for (std::size_t i = 0; i < in.values(); ++i)
    store_as(int8::code_of(value_of(in, i), scale), out[0] + i);
  return {};
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers& numbers,
                   std::span<std::byte* const> out) noexcept {
  put_value(numbers.values[0], in.type, out[1], 0);
  return HWY_DYNAMIC_DISPATCH(int8_tensor_encode)(in, numbers.values[0], out[0]);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  const float scale = value_of(in[1], with.source, 0);
  if (!is_finite(scale))
    return {errc::malformed};
  for (std::size_t i = 0; i < rows * cols; ++i)
    out[i] = static_cast<float>(load_as<std::int8_t>(in[0] + i)) * scale;
  return {};
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  const float scale = value_of(in[1], with.source, 0);
  if (!is_finite(scale))
    return {errc::malformed};
  HWY_DYNAMIC_DISPATCH(int8_tensor_decode)(in[0], rows * cols, scale, out);
  return {};
}

} // namespace int8_tensor
} // namespace viva::kernels
#endif
