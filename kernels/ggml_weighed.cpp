#include "kernels/ggml_weighed.hpp"

#include "kernels/ggml_blocks.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ggml_weighed.cpp"
#include <hwy/foreach_target.h>

#include "kernels/ggml_weighed-inl.hpp"

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
/// Encodes rows; plain(value, out) encodes the block from that value on without channels.
template <class Source, class Plain>
HWY_INLINE status weighed_encode(Source from, const ggml_weighed::format& as, const recipe& with,
                                 const matrix& in, std::byte* out, const Plain& plain) {
  constexpr std::size_t most = hn::MaxLanes(df32()) * ggml_weighed::values;
  HWY_ALIGN float x[most];
  float means[weighed_rows];
  weighed_blocks blocks;
  for (std::size_t r = 0; r < in.rows; ++r) {
    if (r % weighed_rows == 0)
      weighed_means(from, in, r, std::min(weighed_rows, in.rows - r), means);
    for (std::size_t first = 0; first < in.cols; first += most) {
      const auto count = std::min(most, in.cols - first), at = r * in.cols + first;
      for (std::size_t i = 0; i < count; i += lanes())
        hn::Store(load(from, in.data + (at + i) * from.bytes), df32(), x + i);
      weighed_take(x, with.channels.data() + first, means[r % weighed_rows],
                   count / ggml_weighed::values, blocks);
      if (as.has_min)
        weighed_with_min(as, blocks);
      else
        weighed_without_min(as, blocks);
      const weighed_nibbles codes(blocks);
      for (std::size_t b = 0; b < count / ggml_weighed::values; ++b, out += as.block_bytes) {
        if (is_finite(blocks.d[b]) && is_finite(blocks.min[b]))
          weighed_put(as, blocks, codes, b, out);
        else if (const auto done = plain(at + b * ggml_weighed::values, out); !done)
          return done;
      }
    }
  }
  return {};
}

status ggml_weighed_encode(const ggml_weighed::format& as, const recipe& with, const matrix& in,
                           std::byte* out) {
  const auto plain = [&](std::size_t value, std::byte* to) {
    return ggml_weighed::encode_plain(with, with.row->encode_simd, in, value, to);
  };
  return with_source(in.type,
                     [&](auto from) { return weighed_encode(from, as, with, in, out, plain); });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(ggml_weighed_encode);

namespace ggml_weighed {

namespace {

constexpr std::size_t half = values / 2;

/// rint(v) within [low, high].
float level_of(float v, float low, float high) noexcept {
  const float rounded = std::rint(v);
  return rounded < low ? low : rounded > high ? high : rounded;
}

void sums_of(const float* x, const float* w, float inverse, float n, float& product,
             float& square) noexcept {
  product = square = 0;
  for (std::size_t j = 0; j < values; ++j) {
    const float l = level_of(inverse * x[j], -n, n - 1);
    product += w[j] * x[j] * l;
    square += w[j] * l * l;
  }
}

found_block search_without_min(const format& as, const float* x, const float* w) noexcept {
  const auto n = static_cast<float>(as.steps);
  found_block found;
  float amax = 0, extreme = 0;
  for (std::size_t j = 0; j < values; ++j)
    if (magnitude(x[j]) > amax) {
      amax = magnitude(x[j]);
      extreme = x[j];
    }
  if (amax < 1e-15f)
    return found;
  float best_inverse = -n / extreme, product = 0, square = 0;
  sums_of(x, w, best_inverse, n, product, square);
  found.d = square != 0 ? product / square : 0.0f;
  float best = found.d * product;
  for (int i = -refits; i <= refits; ++i) {
    if (i == 0)
      continue;
    const float inverse = numerator_of(as.steps, i) / extreme;
    sums_of(x, w, inverse, n, product, square);
    if (square > 0 && product * product > best * square) {
      best_inverse = inverse;
      found.d = product / square;
      best = found.d * product;
    }
  }
  for (std::size_t j = 0; j < values; ++j)
    found.codes[j] = static_cast<std::uint8_t>(level_of(best_inverse * x[j], -n, n - 1) + n);
  return found;
}

/// Codes by `inverse` above `min`.
void levels_of(const float* x, float inverse, float min, float n, float* codes) noexcept {
  for (std::size_t j = 0; j < values; ++j)
    codes[j] = level_of(inverse * (x[j] - min), 0, n);
}

float error_of(const float* x, const float* w, const float* codes, float d, float min) noexcept {
  float error = 0;
  for (std::size_t j = 0; j < values; ++j) {
    const float off = d * codes[j] + min - x[j];
    error += w[j] * (off * off);
  }
  return error;
}

/// Least squares of d and min, at most 0, over the codes. False where there are none.
bool refit(const float* x, const float* w, const float* codes, float sum_w, float sum_x, float& d,
           float& min) noexcept {
  float sum_l = 0, sum_l2 = 0, sum_xl = 0;
  for (std::size_t j = 0; j < values; ++j) {
    sum_l += w[j] * codes[j];
    sum_l2 += w[j] * codes[j] * codes[j];
    sum_xl += w[j] * codes[j] * x[j];
  }
  const float determinant = sum_w * sum_l2 - sum_l * sum_l;
  if (!(determinant > 0))
    return false;
  d = (sum_w * sum_xl - sum_x * sum_l) / determinant;
  min = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
  if (min > 0) {
    min = 0;
    d = sum_xl / sum_l2;
  }
  return true;
}

found_block search_with_min(const format& as, const float* x, const float* w) noexcept {
  const auto n = static_cast<float>(as.steps);
  float min = x[0], max = x[0], sum_w = w[0], sum_x = sum_w * x[0];
  for (std::size_t j = 1; j < values; ++j) {
    min = x[j] < min ? x[j] : min;
    max = x[j] > max ? x[j] : max;
    sum_w += w[j];
    sum_x += w[j] * x[j];
  }
  min = min > 0 ? 0.0f : min;
  found_block found;
  found.min = min;
  if (max <= min)
    return found;
  std::array<float, values> codes{}, tried{};
  const float first = n / (max - min);
  found.d = 1 / first;
  levels_of(x, first, min, n, codes.data());
  float best = error_of(x, w, codes.data(), found.d, min);
  for (int i = 0; i < range_refits; ++i) {
    levels_of(x, range_numerator_of(as.steps, i) / (max - found.min), found.min, n, tried.data());
    float d = 0, offset = 0;
    if (!refit(x, w, tried.data(), sum_w, sum_x, d, offset))
      continue;
    const float error = error_of(x, w, tried.data(), d, offset);
    if (error < best) {
      best = error;
      codes = tried;
      found.d = d;
      found.min = offset;
    }
  }
  for (std::size_t j = 0; j < values; ++j)
    found.codes[j] = static_cast<std::uint8_t>(codes[j] > 0 ? codes[j] : 0.0f);
  return found;
}

/// A block's bytes: f16 d, f16 min where there is one, the fifth bits where there are, the nibbles.
void put_block(const format& as, const found_block& found, std::byte* out) noexcept {
  store_as(ggml_f16(found.d), out);
  out += 2;
  if (as.has_min) {
    store_as(ggml_f16(found.min), out);
    out += 2;
  }
  if (as.fifth_bit) {
    std::uint32_t fifth = 0;
    for (std::size_t j = 0; j < values; ++j)
      fifth |= std::uint32_t{found.codes[j]} >> 4 << j;
    store_as(fifth, out);
    out += 4;
  }
  for (std::size_t j = 0; j < half; ++j)
    out[j] = static_cast<std::byte>((found.codes[j] & 15) | (found.codes[j + half] & 15) << 4);
}

} // namespace

status encode_plain(const recipe& with, encode_fn* encode, const matrix& in, std::size_t value,
                    std::byte* out) noexcept {
  auto plain = with;
  plain.channels = {};
  std::byte* to[] = {out};
  return encode(plain, {in.data + value * bytes_of(in.type), in.type, 1, values}, {}, {to, 1});
}

status encode_reference(const format& as, const recipe& with, const matrix& in,
                        std::byte* out) noexcept {
  if (in.cols % values != 0)
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t r = 0; r < in.rows; ++r) {
    float sum = 0;
    for (std::size_t k = 0; k < in.cols; ++k) {
      const float value = value_of(in, r * in.cols + k);
      sum += value * value;
    }
    const float mean = sum / static_cast<float>(in.cols);
    for (std::size_t first = 0; first < in.cols; first += values, out += as.block_bytes) {
      std::array<float, values> x, w;
      for (std::size_t j = 0; j < values; ++j) {
        x[j] = value_of(in, r * in.cols + first + j);
        w[j] = with.channels[first + j] * std::sqrt(mean + x[j] * x[j]);
      }
      const auto found =
          (as.has_min ? search_with_min : search_without_min)(as, x.data(), w.data());
      if (is_finite(found.d) && is_finite(found.min))
        put_block(as, found, out);
      else if (const auto done =
                   encode_plain(with, with.row->encode_reference, in, r * in.cols + first, out);
               !done)
        return done;
    }
  }
  return {};
}

status encode_simd(const format& as, const recipe& with, const matrix& in,
                   std::byte* out) noexcept {
  if (in.cols % values != 0)
    return {errc::bad_shape};
  if (first_not_finite(in.data, in.type, in.values()) < in.values())
    return refuse_not_finite(in);
  return HWY_DYNAMIC_DISPATCH(ggml_weighed_encode)(as, with, in, out);
}

} // namespace ggml_weighed
} // namespace viva::kernels
#endif
