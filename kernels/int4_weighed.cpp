#include "kernels/int4_weighed.hpp"

#include "kernels/int4.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int4_weighed.cpp"
#include <hwy/foreach_target.h>

#include "kernels/pack-inl.hpp"

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// The refitted scale of a group, its factors in lanes.
float int4_weighed_scale(const float* HWY_RESTRICT x, const float* HWY_RESTRICT w,
                         std::size_t count, int4::group_scale by, dtype source) {
  constexpr std::size_t vectors = int4::factors_count / hn::MaxLanes(df32());
  const df32 d;
  const auto low = hn::Set(d, static_cast<float>(-8 - by.zero));
  const auto high = hn::Set(d, static_cast<float>(7 - by.zero));
  const auto magic = hn::Set(d, 0x1.8p23f); // added and taken away, it rounds to integers
  HWY_ALIGN float a[int4::factors_count];
  HWY_ALIGN float b[int4::factors_count];
  for (std::size_t v = 0; v < vectors; ++v) {
    const auto inverse = hn::Mul(hn::LoadU(d, int4::inverse_factors.data() + v * lanes()),
                                 hn::Set(d, 1.0f / by.scale));
    auto product = hn::Zero(d), square = hn::Zero(d);
    for (std::size_t i = 0; i < count; ++i) {
      const auto t = hn::Min(hn::Max(hn::Mul(hn::Set(d, x[i]), inverse), low), high);
      const auto k = hn::Sub(hn::Add(t, magic), magic);
      product = hn::Add(product, hn::Mul(hn::Set(d, w[i] * x[i]), k));
      square = hn::Add(square, hn::Mul(hn::Mul(hn::Set(d, w[i]), k), k));
    }
    hn::Store(product, d, a + v * lanes());
    hn::Store(square, d, b + v * lanes());
  }
  return int4::best_scale(a, b, by, source);
}

/// int4::code_of of every value, plus 8.
void int4_weighed_codes(const float* HWY_RESTRICT x, std::size_t count, int4::group_scale by,
                        std::int32_t* HWY_RESTRICT out) {
  const df32 d;
  const auto scale = hn::Set(d, by.scale), zero = hn::Set(d, static_cast<float>(by.zero));
  for (std::size_t i = 0; i < count; i += lanes()) {
    const auto q = hn::Add(hn::Div(hn::LoadU(d, x + i), scale), zero);
    const auto code = nearest_i32(hn::Min(hn::Max(q, hn::Set(d, -8.0f)), hn::Set(d, 7.0f)));
    hn::StoreU(hn::Add(code, hn::Set(di32(), 8)), di32(), out + i);
  }
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(int4_weighed_scale);
HWY_EXPORT(int4_weighed_codes);

namespace int4_weighed {

namespace {

constexpr std::size_t group_max = 128;

float scale_reference(const float* x, const float* w, std::size_t count, int4::group_scale by,
                      dtype source) {
  std::array<float, int4::factors_count> a{}, b{};
  for (std::size_t f = 0; f < int4::factors_count; ++f) {
    const float inverse = int4::inverse_factors[f] * (1.0f / by.scale);
    for (std::size_t i = 0; i < count; ++i) {
      const float t = x[i] * inverse;
      const auto low = static_cast<float>(-8 - by.zero), high = static_cast<float>(7 - by.zero);
      const float k = std::rint(t < low ? low : t > high ? high : t);
      const float product = w[i] * x[i] * k, square = w[i] * k * k;
      a[f] += product;
      b[f] += square;
    }
  }
  return int4::best_scale(a.data(), b.data(), by, source);
}

void codes_reference(const float* x, std::size_t count, int4::group_scale by, std::int32_t* out) {
  for (std::size_t i = 0; i < count; ++i)
    out[i] = int4::code_of(x[i], by) + 8;
}

/// Encodes group by group.
template <class Scale, class Codes>
status encode_by(const recipe& with, const matrix& in, std::span<std::byte* const> out,
                 const Scale& scale_of, const Codes& codes_of) {
  const std::size_t row_groups = in.cols / with.block;
  for (std::size_t g = 0; g < in.rows * row_groups; ++g) {
    const auto first = g * with.block;
    std::array<float, group_max> x;
    std::array<std::int32_t, group_max> codes;
    float amax = 0;
    for (std::size_t i = 0; i < with.block; ++i) {
      x[i] = value_of(in, first + i);
      amax = std::max(amax, magnitude(x[i]));
    }
    const auto plain = with.flags & ~int4::search;
    auto by = int4::group_scale_reference(x.data(), with.block, plain, in.type);
    if (int4::searchable(amax))
      by.scale =
          scale_of(x.data(), with.channels.data() + first % in.cols, with.block, by, in.type);
    codes_of(x.data(), with.block, by, codes.data());
    for (std::size_t i = 0; i < with.block; i += 2)
      out[0][(first + i) / 2] = static_cast<std::byte>(codes[i] | codes[i + 1] << 4);
    put_value(by.scale, in.type, out[1], g);
    if ((with.flags & int4::asym) != 0)
      int4::put_zero(by.zero, g / row_groups, g % row_groups, row_groups, out[2]);
  }
  return {};
}

} // namespace

bool takes(const recipe& with) noexcept {
  return (with.flags & int4::search) != 0 && !with.channels.empty();
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (in.cols % with.block != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  return encode_by(with, in, out, scale_reference, codes_reference);
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (in.cols % with.block != 0)
    return {errc::bad_shape};
  if (first_not_finite(in.data, in.type, in.values()) < in.values())
    return refuse_not_finite(in);
  return encode_by(with, in, out, HWY_DYNAMIC_DISPATCH(int4_weighed_scale),
                   HWY_DYNAMIC_DISPATCH(int4_weighed_codes));
}

} // namespace int4_weighed
} // namespace viva::kernels
#endif
