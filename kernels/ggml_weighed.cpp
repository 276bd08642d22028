#include "kernels/ggml_weighed.hpp"

#include "kernels/ggml_weighed_search.hpp"

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

status encode_plain(const recipe& with, encode_fn* encode, const matrix& in, std::size_t value,
                    std::byte* out) noexcept {
  auto plain = with;
  plain.channels = {};
  std::byte* to[] = {out};
  return encode(plain, {in.data + value * bytes_of(in.type), in.type, 1, values}, {}, {to, 1});
}

status encode_reference(const format& as, const recipe& with, const matrix& in,
                        std::byte* out) noexcept {
  if (in.cols % values != 0 || with.channels.size() != in.cols)
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
        w[j] = weight_of(x[j], with.channels[first + j], mean);
      }
      const auto found = search_block(as, x.data(), w.data());
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
  if (in.cols % values != 0 || with.channels.size() != in.cols)
    return {errc::bad_shape};
  if (first_not_finite(in.data, in.type, in.values()) < in.values())
    return refuse_not_finite(in);
  return HWY_DYNAMIC_DISPATCH(ggml_weighed_encode)(as, with, in, out);
}

} // namespace ggml_weighed
} // namespace viva::kernels
#endif
