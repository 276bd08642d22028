#include "kernels/int4.hpp"

#include "kernels/int4_search.hpp"
#include "kernels/int4_weighed.hpp"
#include "kernels/scalar.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int4.cpp"
#include <hwy/foreach_target.h>

#include "kernels/decode-inl.hpp"
#include "kernels/int4-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

/// Codes in [-8, 7] as nibbles, code + 8, the first of two in the low one.
HWY_INLINE vu8 int4_pack(vi8 lower, vi8 upper) {
  const auto nibbles = [](vi8 codes) {
    const auto low = hn::Set(di8(), std::int8_t{-8});
    const auto high = hn::Set(di8(), std::int8_t{7});
    const auto code = hn::Min(hn::Max(codes, low), high);
    return pair_nibbles_low_first(hn::BitCast(du8(), hn::Sub(code, low)));
  };
  return pack_u16(nibbles(lower), nibbles(upper));
}

/// Sets the nibbles of zero points: of flat groups [first, first + count), `row_groups` in a row.
inline void int4_put_zeros(const float* zero, std::size_t first, std::size_t count,
                           std::size_t row_groups, std::byte* plane) {
  for (std::size_t g = 0; g < count; ++g)
    int4::put_zero(static_cast<int>(zero[g]), (first + g) / row_groups, (first + g) % row_groups,
                   row_groups, plane);
}

} // namespace

status int4_encode(const recipe& with, const matrix& in, std::span<std::byte* const> out) {
  const bool asym = (with.flags & int4::asym) != 0;
  const int4_weights weights{with.channels.empty() ? nullptr : with.channels.data(), in.cols};
  return with_source(in.type, [&](auto from) {
    const auto encode = [&](auto stores, const std::byte* at, std::size_t first, std::size_t groups,
                            std::size_t whole, std::byte* to) {
      group_scales by;
      if (!int4_group_scales(from, at, with.block, first, groups, with.flags, weights, by))
        return false;
      put_group_scales(from, by, whole, out[1], first);
      const auto put = [&](std::size_t i, vi8 lower, vi8 upper) {
        decltype(stores)::put(int4_pack(lower, upper), du8(),
                              reinterpret_cast<std::uint8_t*>(to) + i / 2);
      };
      if (asym) {
        group_codes<true>(from, at, with.block, groups, by, put);
        int4_put_zeros(by.zero, first, whole, in.cols / with.block, out[2]);
      } else {
        group_codes<false>(from, at, with.block, groups, by, put);
      }
      return true;
    };
    return each_group_batch<2>(from, in, with.block, out[0], encode);
  });
}

bool int4_decode(const recipe& with, std::size_t rows, std::size_t row_groups,
                 std::span<const std::byte* const> in, float* out) {
  const std::size_t block = with.block;
  const level_table symmetric = level_table().plus(-8.0f);
  return with_stores(out, rows * row_groups * block * sizeof(float), [&](auto stores) {
    return each_scale(with.source, in[1], rows * row_groups,
                      [&](std::size_t g, float scale) VIVA_INLINE_LAMBDA {
                        auto levels = symmetric;
                        if ((with.flags & int4::asym) != 0)
                          levels = levels.plus(-static_cast<float>(
                              int4::get_zero(g / row_groups, g % row_groups, row_groups, in[2])));
                        decode_pairs<nibble_order::low_first, decltype(stores)>(
                            levels.times(scale), in[0] + g * block / 2, block, out + g * block);
                      });
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(int4_encode);
HWY_EXPORT(int4_decode);

namespace int4 {

namespace {

bool is_asym(const recipe& with) {
  return (with.flags & asym) != 0;
}

std::byte* zero_byte(std::size_t row, std::size_t group, std::size_t row_groups,
                     std::byte* plane) noexcept {
  return plane + (row / 8 * row_groups + group) * 4 + row % 8 / 2;
}

} // namespace

void put_zero(int zero, std::size_t row, std::size_t group, std::size_t row_groups,
              std::byte* plane) noexcept {
  auto* byte = zero_byte(row, group, row_groups, plane);
  if (row % 8 == 0)
    store_as(std::uint32_t{0}, byte); // rows that do not come leave zeros
  *byte |= static_cast<std::byte>((zero + 8) << (row % 2 * 4));
}

int get_zero(std::size_t row, std::size_t group, std::size_t row_groups,
             const std::byte* plane) noexcept {
  const auto byte = static_cast<int>(plane[(row / 8 * row_groups + group) * 4 + row % 8 / 2]);
  return (row % 2 == 0 ? byte & 15 : byte >> 4) - 8;
}

geometry shape(const recipe& with, std::uint64_t cols) {
  using kind = plane::unit_kind;
  const auto scale_bytes = static_cast<std::uint32_t>(bytes_of(with.source));
  geometry made{.planes = {plane{"codes", kind::values, 2, 1},
                           plane{"scales", kind::values, with.block, scale_bytes}},
                .planes_count = 2};
  if (is_asym(with)) {
    made.planes[2] = {.name = "zeros",
                      .unit = kind::row,
                      .unit_bytes = static_cast<std::uint32_t>(4 * (cols / with.block)),
                      .unit_rows = 8};
    made.planes_count = 3;
    made.rows_grain = 8;
  }
  return made;
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                        std::span<std::byte* const> out) noexcept {
  if (int4_weighed::takes(with))
    return int4_weighed::encode_reference(with, in, numbers, out);
  if (in.cols % with.block != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  const std::size_t row_groups = in.cols / with.block;
  for (std::size_t g = 0; g < in.rows * row_groups; ++g) {
    const std::size_t first = g * with.block;
    std::array<float, 128> x;
    for (std::size_t i = 0; i < with.block; ++i)
      x[i] = value_of(in, first + i);
    const auto by = group_scale_reference(x.data(), nullptr, with.block, with.flags, in.type);
    put_value(by.scale, in.type, out[1], g);
    if (is_asym(with))
      put_zero(by.zero, g / row_groups, g % row_groups, row_groups, out[2]);
    for (std::size_t i = 0; i < with.block; i += 2)
      out[0][(first + i) / 2] =
          static_cast<std::byte>((code_of(x[i], by) + 8) | (code_of(x[i + 1], by) + 8) << 4);
  }
  return {};
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  const bool weighed = int4_weighed::takes(with);
  if (in.cols % with.block != 0 || (weighed && with.channels.size() != in.cols))
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(int4_encode)(with, in, out);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  if (cols % with.block != 0)
    return {errc::bad_shape};
  const std::size_t row_groups = cols / with.block;
  for (std::size_t i = 0; i < rows * cols; ++i) {
    const std::size_t g = i / with.block;
    const float scale = value_of(in[1], with.source, g);
    if (!is_finite(scale))
      return {errc::malformed};
    const int zero =
        is_asym(with) ? get_zero(g / row_groups, g % row_groups, row_groups, in[2]) : 0;
    const auto byte = static_cast<int>(in[0][i / 2]);
    const int code = (i % 2 == 0 ? byte & 15 : byte >> 4) - 8;
    out[i] = static_cast<float>(code - zero) * scale;
  }
  return {};
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % with.block != 0)
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(int4_decode)(with, rows, cols / with.block, in, out)
             ? status{}
             : status{errc::malformed};
}

} // namespace int4
} // namespace viva::kernels
#endif
