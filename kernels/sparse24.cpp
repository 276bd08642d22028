#include "kernels/sparse24.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sparse24.cpp"
#include <hwy/foreach_target.h>

#include "kernels/sparse24-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

bool sparse24_prune(const matrix& in, std::span<const float> channels, std::byte* kept,
                    std::byte* bitmask) {
  return with_source(in.type, [&](auto from) {
    return sparse24_rows(from, in, channels, [&](std::size_t row, std::size_t col) {
      return sparse24_compress{from, kept + (row * in.cols + col) / 2 * from.bytes,
                               bitmask + row * sparse24::mask_bytes(in.cols) + col / 8};
    });
  });
}

bool sparse24_zero(const matrix& in, std::span<const float> channels, std::byte* out) {
  return with_source(in.type, [&](auto from) {
    return sparse24_rows(from, in, channels, [&](std::size_t row, std::size_t col) {
      return sparse24_clear{from, out + (row * in.cols + col) * from.bytes};
    });
  });
}

void sparse24_spread(const std::byte* kept, dtype type, const std::byte* bitmask, std::size_t rows,
                     std::size_t cols, float* out) {
  with_source(type, [&](auto from) {
    for (std::size_t r = 0; r < rows; ++r)
      sparse24_spread_row(from, kept + r * cols / 2 * from.bytes,
                          bitmask + r * sparse24::mask_bytes(cols), cols, out + r * cols);
    return true;
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(sparse24_prune);
HWY_EXPORT(sparse24_zero);
HWY_EXPORT(sparse24_spread);

namespace sparse24 {

namespace {

status check(const recipe& with, const matrix& in) noexcept {
  const bool fits =
      in.cols % group == 0 && (with.channels.empty() || with.channels.size() == in.cols);
  return fits ? status{} : status{errc::bad_shape};
}

/// Which of the 4 values at row `r`, column `c` are kept.
unsigned kept_at(const recipe& with, const matrix& in, std::size_t r, std::size_t c) noexcept {
  std::uint32_t score[group];
  for (std::size_t i = 0; i < group; ++i) {
    const float a = magnitude(value_of(in, r * in.cols + c + i));
    score[i] = bits_of(with.channels.empty() ? a : a * std::sqrt(with.channels[c + i]));
  }
  return kept_of(score);
}

/// Calls body(row, col, kept) for each group.
template <class Body>
void for_each_group(const recipe& with, const matrix& in, Body&& body) {
  for (std::size_t r = 0; r < in.rows; ++r)
    for (std::size_t c = 0; c < in.cols; c += group)
      body(r, c, kept_at(with, in, r, c));
}

void copy_value(const matrix& in, std::size_t i, std::byte* to) noexcept {
  const auto bytes = bytes_of(in.type);
  std::memcpy(to, in.data + i * bytes, bytes);
}

void prune_reference(const recipe& with, const matrix& in, std::byte* kept,
                     std::byte* bitmask) noexcept {
  std::size_t next = 0;
  const auto row_bytes = mask_bytes(in.cols);
  std::fill_n(bitmask, in.rows * row_bytes, std::byte{0});
  for_each_group(with, in, [&](std::size_t r, std::size_t c, unsigned bits) {
    bitmask[r * row_bytes + c / 8] |= static_cast<std::byte>(bits << c % 8);
    for (std::size_t i = 0; i < group; ++i)
      if ((bits >> i & 1u) != 0)
        copy_value(in, r * in.cols + c + i, kept + next++ * bytes_of(in.type));
  });
}

void spread_reference(const std::byte* kept, dtype type, const std::byte* bitmask, std::size_t rows,
                      std::size_t cols, float* out) noexcept {
  std::size_t next = 0;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const auto byte = static_cast<unsigned>(bitmask[r * mask_bytes(cols) + c / 8]);
      *out++ = (byte >> c % 8 & 1u) != 0 ? value_of(kept, type, next++) : 0.0f;
    }
}

/// Bytes of a bitmask that keep two of each four.
constexpr auto whole_bytes = [] {
  std::array<bool, 256> whole{};
  for (unsigned byte = 0; byte < 256; ++byte)
    whole[byte] = std::popcount(byte & 15u) == 2 && std::popcount(byte >> 4) == 2;
  return whole;
}();

bool whole_mask(const std::byte* bitmask, std::size_t rows, std::size_t cols) noexcept {
  bool whole = true;
  for (std::size_t r = 0; r < rows; ++r, bitmask += mask_bytes(cols)) {
    for (std::size_t b = 0; b < cols / 8; ++b)
      whole &= whole_bytes[static_cast<std::uint8_t>(bitmask[b])];
    if (cols % 8 != 0)
      whole &= std::popcount(static_cast<std::uint8_t>(bitmask[cols / 8])) == 2
               && static_cast<unsigned>(bitmask[cols / 8]) < 16;
  }
  return whole;
}

} // namespace

status prune(path which, const recipe& with, const matrix& in, std::byte* kept,
             std::byte* bitmask) noexcept {
  if (const auto good = check(with, in); !good)
    return good;
  if (which == path::simd)
    return HWY_DYNAMIC_DISPATCH(sparse24_prune)(in, with.channels, kept, bitmask)
               ? status{}
               : refuse_not_finite(in);
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  prune_reference(with, in, kept, bitmask);
  return {};
}

status spread(path which, const std::byte* kept, dtype type, const std::byte* bitmask,
              std::size_t rows, std::size_t cols, float* out) noexcept {
  if (cols % group != 0)
    return {errc::bad_shape};
  if (!whole_mask(bitmask, rows, cols))
    return {errc::malformed};
  (which == path::simd ? HWY_DYNAMIC_DISPATCH(sparse24_spread)
                       : spread_reference)(kept, type, bitmask, rows, cols, out);
  return {};
}

geometry shape(const recipe& with, std::uint64_t cols) {
  using kind = plane::unit_kind;
  return {.planes = {plane{"values", kind::values, 2,
                           static_cast<std::uint32_t>(bytes_of(with.source))},
                     plane{"bitmask", kind::row, 0, static_cast<std::uint32_t>(mask_bytes(cols))}},
          .planes_count = 2};
}

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  return prune(path::reference, with, in, out[0], out[1]);
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  return prune(path::simd, with, in, out[0], out[1]);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  return spread(path::reference, in[0], with.source, in[1], rows, cols, out);
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return spread(path::simd, in[0], with.source, in[1], rows, cols, out);
}

geometry dense_shape(const recipe& with, std::uint64_t) {
  const auto bytes = static_cast<std::uint32_t>(bytes_of(with.source));
  return {.planes = {plane{"values", plane::unit_kind::values, 1, bytes}}, .planes_count = 1};
}

status dense_encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                              std::span<std::byte* const> out) noexcept {
  if (const auto good = check(with, in); !good)
    return good;
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  const auto bytes = bytes_of(in.type);
  std::fill_n(out[0], in.values() * bytes, std::byte{0});
  for_each_group(with, in, [&](std::size_t r, std::size_t c, unsigned bits) {
    for (std::size_t i = 0; i < group; ++i)
      if ((bits >> i & 1u) != 0)
        copy_value(in, r * in.cols + c + i, out[0] + (r * in.cols + c + i) * bytes);
  });
  return {};
}

status dense_encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                         std::span<std::byte* const> out) noexcept {
  if (const auto good = check(with, in); !good)
    return good;
  return HWY_DYNAMIC_DISPATCH(sparse24_zero)(in, with.channels, out[0]) ? status{}
                                                                        : refuse_not_finite(in);
}

status dense_decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                              const tensor_numbers&, std::span<const std::byte* const> in,
                              float* out) noexcept {
  load_f32_reference(in[0], with.source, rows * cols, out);
  return {};
}

status dense_decode_simd(const recipe& with, std::size_t rows, std::size_t cols,
                         const tensor_numbers&, std::span<const std::byte* const> in,
                         float* out) noexcept {
  load_f32(in[0], with.source, rows * cols, out);
  return {};
}

} // namespace sparse24
} // namespace viva::kernels
#endif
