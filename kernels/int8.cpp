#include "kernels/int8.hpp"

#include "kernels/blocks.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int8.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::int8::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

float magnitude_max(const float* x, std::size_t count, float so_far) {
  const hn::ScalableTag<float> d;
  auto m = hn::Set(d, so_far);
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d))
    m = hn::Max(m, hn::Abs(hn::LoadU(d, x + i)));
  float result = hn::GetLane(hn::MaxOfLanes(d, m));
  for (; i < count; ++i)
    result = std::max(result, std::fabs(x[i]));
  return result;
}

void encode_codes(const float* x, std::size_t count, float scale, std::int8_t* out) {
  const hn::ScalableTag<float> d;
  const hn::Rebind<std::int8_t, decltype(d)> d8;
  const auto s = hn::Set(d, scale), low = hn::Set(d, -128.0f), high = hn::Set(d, 127.0f);
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d)) {
    const auto u = hn::Min(hn::Max(hn::Div(hn::LoadU(d, x + i), s), low), high);
    hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(u)), d8, out + i);
  }
  for (; i < count; ++i)
    out[i] = static_cast<std::int8_t>(
      std::nearbyint(std::min(std::max(x[i] / scale, -128.0f), 127.0f)));
}

void decode_codes(const std::int8_t* in, std::size_t count, float scale, float* out) {
  const hn::ScalableTag<float> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<std::int8_t, decltype(d)> d8;
  const auto s = hn::Set(d, scale);
  std::size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d))
    hn::StoreU(hn::Mul(hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, in + i))), s), d, out + i);
  for (; i < count; ++i)
    out[i] = static_cast<float>(in[i]) * scale;
}

} // namespace viva::kernels::int8::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels::int8 {

HWY_EXPORT(magnitude_max);
HWY_EXPORT(encode_codes);
HWY_EXPORT(decode_codes);

float scale_of(float amax, dtype type) noexcept {
  const float exact = amax / 127.5f;
  switch (type) {
    case dtype::bf16:
      if (const float s = f32_from_bf16(bf16_from_f32(exact)); s != 0)
        return s;
      return 0.0078125f;
    case dtype::f16:
      if (const float s = f32_from_f16(f16_from_f32(exact)); s != 0)
        return s;
      return 0.0009765625f;
    case dtype::f32:
      break;
  }
  return exact != 0 ? exact : 1.1920928955078125e-7f;
}

namespace {

float scale_at(const std::byte* scales, dtype type, std::size_t row) noexcept {
  float scale = 0;
  load_f32(scales + row * bytes_of(type), type, 1, &scale);
  return scale;
}

std::int8_t code_of(float x, float scale) noexcept {
  return static_cast<std::int8_t>(std::nearbyint(std::min(std::max(x / scale, -128.0f), 127.0f)));
}

} // namespace

status encode_reference(const recipe& r, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  for (std::size_t row = 0; row < in.rows; ++row) {
    const auto source = in.slice(row, 1);
    float amax = 0;
    for (std::size_t j = 0; j < in.cols; ++j) {
      float x = 0;
      load_f32(source.data + j * bytes_of(in.type), in.type, 1, &x);
      if (!std::isfinite(x))
        return {errc::not_finite, row * in.cols + j};
      amax = std::max(amax, std::fabs(x));
    }
    const float scale = scale_of(amax, r.source);
    store_f32(&scale, r.source, 1, out[1] + row * bytes_of(r.source));
    for (std::size_t j = 0; j < in.cols; ++j) {
      float x = 0;
      load_f32(source.data + j * bytes_of(in.type), in.type, 1, &x);
      out[0][row * in.cols + j] = static_cast<std::byte>(code_of(x, scale));
    }
  }
  return {};
}

status encode_simd(const recipe& r, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (const auto bad = check_finite(in); !bad)
    return bad;
  for (std::size_t row = 0; row < in.rows; ++row) {
    const auto source = in.slice(row, 1);
    float amax = 0;
    for_each_run(source, [&](const float* x, std::size_t, std::size_t count) {
      amax = HWY_DYNAMIC_DISPATCH(magnitude_max)(x, count, amax);
    });
    const float scale = scale_of(amax, r.source);
    store_f32(&scale, r.source, 1, out[1] + row * bytes_of(r.source));
    auto* codes = reinterpret_cast<std::int8_t*>(out[0] + row * in.cols);
    for_each_run(source, [&](const float* x, std::size_t first, std::size_t count) {
      HWY_DYNAMIC_DISPATCH(encode_codes)(x, count, scale, codes + first);
    });
  }
  return {};
}

status decode_reference(const recipe& r, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  for (std::size_t row = 0; row < rows; ++row) {
    const float scale = scale_at(in[1], r.source, row);
    for (std::size_t j = 0; j < cols; ++j)
      out[row * cols + j] = static_cast<float>(static_cast<std::int8_t>(in[0][row * cols + j])) * scale;
  }
  return {};
}

status decode_simd(const recipe& r, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  for (std::size_t row = 0; row < rows; ++row)
    HWY_DYNAMIC_DISPATCH(decode_codes)
    (reinterpret_cast<const std::int8_t*>(in[0] + row * cols), cols,
     scale_at(in[1], r.source, row), out + row * cols);
  return {};
}

expected<recipe> resolve(const method& row, std::string_view options, dtype source) {
  if (!options.empty())
    return fail(errc::bad_option, "method int8 takes no options, got '" + std::string(options) + "'");
  return recipe{.row = &row, .source = source};
}

geometry shape(const recipe& r, std::uint64_t) {
  using kind = plane::unit_kind;
  return {.planes = {{{"codes", kind::values, 1, 1},
                      {"scales", kind::row, 0, static_cast<std::uint32_t>(bytes_of(r.source))}}},
          .planes_count = 2};
}

} // namespace viva::kernels::int8
#endif // HWY_ONCE
