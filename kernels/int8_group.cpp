#include "kernels/int8_group.hpp"

#include "kernels/int8.hpp"
#include "kernels/scalar.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int8_group.cpp"
#include <hwy/foreach_target.h>

#include "kernels/decode-inl.hpp"
#include "kernels/group-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

status int8_group_encode(const matrix& in, std::size_t block, std::byte* codes, std::byte* scales) {
  return with_source(in.type, [&](auto from) {
    const auto encode = [&](auto stores, const std::byte* at, std::size_t first, std::size_t groups,
                            std::size_t whole, std::byte* to) {
      group_scales by;
      HWY_ALIGN float amax[group_batch];
      if (!fold_group_magnitudes(from, at, block, groups, amax))
        return false;
      for (std::size_t g = 0; g < groups; g += lanes())
        store_group_scale(from, hn::Div(hn::Load(df32(), amax + g), hn::Set(df32(), 127.5f)), g,
                          by);
      put_group_scales(from, by, whole, scales, first);
      auto* bytes = reinterpret_cast<std::int8_t*>(to);
      const auto sign = hn::Set(di8(), std::int8_t{-128});
      group_codes<false>(from, at, block, groups, by, [&](std::size_t i, vi8 lower, vi8 upper) {
        decltype(stores)::put(hn::Xor(lower, sign), di8(), bytes + i); // code + 128
        decltype(stores)::put(hn::Xor(upper, sign), di8(), bytes + i + hn::MaxLanes(di8()));
      });
      return true;
    };
    return each_group_batch<1>(from, in, block, codes, encode);
  });
}

bool int8_group_decode(dtype type, std::size_t values, std::size_t block, const std::byte* codes,
                       const std::byte* scales, float* out) {
  return with_stores(out, values * sizeof(float), [&](auto stores) {
    return each_scale(type, scales, values / block,
                      [&](std::size_t g, float scale) VIVA_INLINE_LAMBDA {
                        const auto* in = reinterpret_cast<const std::uint8_t*>(codes) + g * block;
                        float* to = out + g * block;
                        const hn::Rebind<std::uint8_t, df32> quarter;
                        const auto by = hn::Set(df32(), scale);
                        each_vector(block, [&](std::size_t i) {
                          const auto u = hn::PromoteTo(di32(), hn::LoadU(quarter, in + i));
                          const auto q = hn::ConvertTo(df32(), hn::Sub(u, hn::Set(di32(), 128)));
                          decltype(stores)::put(hn::Mul(q, by), df32(), to + i);
                        });
                      });
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(int8_group_encode);
HWY_EXPORT(int8_group_decode);

namespace int8_group {

geometry shape(const recipe& with, std::uint64_t) {
  using kind = plane::unit_kind;
  const auto scale_bytes = static_cast<std::uint32_t>(bytes_of(with.source));
  return {.planes = {plane{"codes", kind::values, 1, 1},
                     plane{"scales", kind::values, with.block, scale_bytes}},
          .planes_count = 2};
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (in.cols % with.block != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t first = 0; first < in.values(); first += with.block) {
    const float scale = int8::scale_of(magnitude_max(in, first, with.block), in.type);
    put_value(scale, in.type, out[1], first / with.block);
    for (std::size_t i = first; i < first + with.block; ++i)
      out[0][i] = static_cast<std::byte>(int8::code_of(value_of(in, i), scale) + 128);
  }
  return {};
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % with.block != 0)
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(int8_group_encode)(in, with.block, out[0], out[1]);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  if (cols % with.block != 0)
    return {errc::bad_shape};
  for (std::size_t first = 0; first < rows * cols; first += with.block) {
    const float scale = value_of(in[1], with.source, first / with.block);
    if (!is_finite(scale))
      return {errc::malformed};
    for (std::size_t i = first; i < first + with.block; ++i)
      out[i] = static_cast<float>(static_cast<int>(in[0][i]) - 128) * scale;
  }
  return {};
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % with.block != 0)
    return {errc::bad_shape};
  const bool finite = HWY_DYNAMIC_DISPATCH(int8_group_decode)(with.source, rows * cols, with.block,
                                                              in[0], in[1], out);
  return finite ? status{} : status{errc::malformed};
}

} // namespace int8_group
} // namespace viva::kernels
#endif
