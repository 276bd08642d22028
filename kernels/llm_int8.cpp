#include "kernels/llm_int8.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/llm_int8.cpp"
#include <hwy/foreach_target.h>

#include "kernels/decode-inl.hpp"
#include "kernels/fold-inl.hpp"
#include "kernels/pack-inl.hpp"
#include "kernels/row-inl.hpp"
#include "kernels/stream-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

/// Values of one step: four vectors become one vector of codes.
constexpr std::size_t llm_int8_step = 4 * hn::MaxLanes(df32());

/// half_of `lanes()` values.
template <class Source>
HWY_INLINE vf32 load_half(Source from, const std::byte* HWY_RESTRICT at) {
  const auto x = load(from, at);
  if constexpr (Source::type == dtype::f16) {
    return x;
  } else {
    const auto largest = hn::Set(df32(), 65504.0f);
    return f16_rounded(hn::Max(hn::Min(x, largest), hn::Neg(largest)));
  }
}

template <class Source>
HWY_INLINE vi8 llm_int8_codes(Source from, const std::byte* HWY_RESTRICT in, vf32 inverse) {
  vi32 q[4];
  VIVA_UNROLL(4)
  for (std::size_t k = 0; k < 4; ++k)
    q[k] = nearest_i32(hn::Mul(load_half(from, in + k * lanes() * from.bytes), inverse));
  return pack_i8(q[0], q[1], q[2], q[3]);
}

template <class Stores, class Source>
bool llm_int8_encode_row(Source from, const std::byte* HWY_RESTRICT in, std::size_t cols,
                         std::byte* HWY_RESTRICT codes, std::byte* HWY_RESTRICT scb_out) {
  const auto amax = fold_row(from, in, cols);
  if (amax >= static_cast<std::int32_t>(infinity_bits))
    return false;
  const float scb = llm_int8::half_of(float_of(static_cast<std::uint32_t>(amax)));
  store_as(scb, scb_out);
  const auto inverse = hn::Set(df32(), llm_int8::inverse_of(scb));
  const std::size_t ahead = one_look_ahead(cols * from.bytes);
  const std::size_t whole = cols / llm_int8_step * llm_int8_step;
  auto* out = reinterpret_cast<std::int8_t*>(codes);
  for (std::size_t i = 0; i < whole; i += llm_int8_step) {
    prefetch_row_for_later(in + i * from.bytes + ahead, llm_int8_step * from.bytes);
    Stores::put(llm_int8_codes(from, in + i * from.bytes, inverse), di8(), out + i);
  }
  if (whole == cols)
    return true;
  HWY_ALIGN std::byte rest_in[llm_int8_step * 4] = {};
  HWY_ALIGN std::int8_t rest_out[llm_int8_step];
  copy_bytes(rest_in, in + whole * from.bytes, (cols - whole) * from.bytes);
  hn::Store(llm_int8_codes(from, rest_in, inverse), di8(), rest_out);
  copy_bytes(codes + whole, reinterpret_cast<const std::byte*>(rest_out), cols - whole);
  return true;
}

} // namespace

status llm_int8_encode(const matrix& in, std::span<std::byte* const> out) {
  return with_source(in.type, [&](auto from) -> status {
    // Rows of other widths do not all begin where a vector may be stored past the cache.
    const std::size_t bytes = in.cols % 64 == 0 ? in.values() : 0;
    return with_stores(out[0], bytes, [&](auto stores) -> status {
      for (std::size_t r = 0; r < in.rows; ++r)
        if (!llm_int8_encode_row<decltype(stores)>(from, in.slice(r, 1).data, in.cols,
                                                   out[0] + r * in.cols,
                                                   out[1] + r * sizeof(float)))
          return refuse_not_finite(in);
      return {};
    });
  });
}

bool llm_int8_decode(std::size_t rows, std::size_t cols, const std::byte* codes,
                     const std::byte* scbs, float* out) {
  return with_stores(out, aligned_row_bytes(rows, cols), [&](auto stores) {
    const auto step = hn::Set(df32(), llm_int8::step);
    for (std::size_t r = 0; r < rows; ++r, codes += cols, out += cols) {
      const auto scb = load_as<float>(scbs + r * sizeof(float));
      if (!is_finite(scb))
        return false;
      const auto scale = hn::Set(df32(), scb);
      const std::size_t whole = each_vector(cols, [&](std::size_t i) {
        const auto scaled = hn::Mul(signed_bytes(codes + i), scale);
        decltype(stores)::put(hn::Mul(scaled, step), df32(), out + i);
      });
      for (std::size_t i = whole; i < cols; ++i)
        out[i] = static_cast<float>(load_as<std::int8_t>(codes + i)) * scb * llm_int8::step;
    }
    return true;
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(llm_int8_encode);
HWY_EXPORT(llm_int8_decode);

namespace llm_int8 {

geometry shape(const recipe&, std::uint64_t) {
  using kind = plane::unit_kind;
  return {.planes = {plane{"codes", kind::values, 1, 1}, plane{"scb", kind::row, 0, sizeof(float)}},
          .planes_count = 2};
}

status encode_reference(const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t r = 0; r < in.rows; ++r) {
    float scb = 0;
    for (std::size_t i = r * in.cols; i < (r + 1) * in.cols; ++i)
      scb = std::fmax(scb, magnitude(half_of(value_of(in, i))));
    store_as(scb, out[1] + r * sizeof(float));
    for (std::size_t i = r * in.cols; i < (r + 1) * in.cols; ++i)
      store_as(code_of(half_of(value_of(in, i)), inverse_of(scb)), out[0] + i);
  }
  return {};
}

status encode_simd(const recipe&, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  return HWY_DYNAMIC_DISPATCH(llm_int8_encode)(in, out);
}

status decode_reference(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                        std::span<const std::byte* const> in, float* out) noexcept {
  for (std::size_t r = 0; r < rows; ++r) {
    const auto scb = load_as<float>(in[1] + r * sizeof(float));
    if (!is_finite(scb))
      return {errc::malformed};
    for (std::size_t i = r * cols; i < (r + 1) * cols; ++i)
      out[i] = static_cast<float>(load_as<std::int8_t>(in[0] + i)) * scb * step;
  }
  return {};
}

status decode_simd(const recipe&, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return HWY_DYNAMIC_DISPATCH(llm_int8_decode)(rows, cols, in[0], in[1], out)
             ? status{}
             : status{errc::malformed};
}

} // namespace llm_int8
} // namespace viva::kernels
#endif
