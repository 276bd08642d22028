#include "kernels/sparse24.hpp"

#include "kernels/scratch.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/sparse24.cpp"
#include <hwy/foreach_target.h>

#include "kernels/sparse24-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// `roots` has room for the columns and a step more, or is null without channels.
sparse24::pruned sparse24_prune(const matrix& in, std::span<const float> channels, float* roots,
                                std::byte* kept, std::byte* bitmask) {
  if (roots != nullptr)
    sparse24_roots(channels.data(), in.cols, roots);
  return with_source(in.type, [&](auto from) -> sparse24::pruned {
    const std::size_t bytes = in.cols % 64 == 0 ? in.values() / 2 * from.bytes : 0;
    auto smallest = hn::Set(di32(), std::numeric_limits<std::int32_t>::max());
    const bool finite = with_stores(kept, bytes, [&](auto stores) {
      return sparse24_rows(from, in, roots, [&](std::size_t row) {
        return sparse24_compress<decltype(from), decltype(stores)>{
            from, kept + row * in.cols / 2 * from.bytes,
            bitmask + row * sparse24::mask_bytes(in.cols), &smallest};
      });
    });
    return {finite, !hn::AllTrue(di32(), hn::Gt(smallest, hn::Zero(di32())))};
  });
}

bool sparse24_zero(const matrix& in, std::span<const float> channels, float* roots,
                   std::byte* out) {
  if (roots != nullptr)
    sparse24_roots(channels.data(), in.cols, roots);
  return with_source(in.type, [&](auto from) {
    const std::size_t bytes = in.cols % 64 == 0 ? in.values() * from.bytes : 0;
    return with_stores(out, bytes, [&](auto stores) {
      return sparse24_rows(from, in, roots, [&](std::size_t row) {
        return sparse24_clear<decltype(from), decltype(stores)>{from,
                                                                out + row * in.cols * from.bytes};
      });
    });
  });
}

void sparse24_spread(const std::byte* kept, dtype type, const std::byte* bitmask, std::size_t rows,
                     std::size_t cols, bool past_cache, float* out) {
  with_source(type, [&](auto from) {
    const auto spread = [&](auto stores) {
      for (std::size_t r = 0; r < rows; ++r)
        sparse24_spread_row<decltype(stores)>(from, kept + r * cols / 2 * from.bytes,
                                              bitmask + r * sparse24::mask_bytes(cols), cols,
                                              out + r * cols);
    };
    if (past_cache)
      spread(past_cache_stores{});
    else
      spread(cached_stores{});
    return true;
  });
}

void sparse24_map(const std::uint8_t* table, std::byte* bytes, std::size_t count) {
  sparse24_map_nibbles(table, bytes, count);
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(sparse24_prune);
HWY_EXPORT(sparse24_zero);
HWY_EXPORT(sparse24_spread);
HWY_EXPORT(sparse24_map);

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
    const float* channel = with.channels.empty() ? nullptr : &with.channels[c + i];
    score[i] = score_of(value_of(in, r * in.cols + c + i), channel);
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
                      std::size_t cols, bool, float* out) {
  std::size_t next = 0;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const auto byte = static_cast<unsigned>(bitmask[r * mask_bytes(cols) + c / 8]);
      *out++ = (byte >> c % 8 & 1u) != 0 ? value_of(kept, type, next++) : 0.0f;
    }
}

/// Whether each four of 64 bits have two set.
bool is_whole(std::uint64_t bits) noexcept {
  constexpr std::uint64_t each_second = 0x5555555555555555u, each_pair = 0x3333333333333333u;
  const auto of_pairs = bits - (bits >> 1 & each_second);
  return (of_pairs & each_pair) + (of_pairs >> 2 & each_pair) == 0x2222222222222222u;
}

bool whole_mask(const std::byte* bitmask, std::size_t rows, std::size_t cols) noexcept {
  bool whole = true;
  for (std::size_t r = 0; r < rows; ++r, bitmask += mask_bytes(cols)) {
    std::size_t c = 0;
    for (; c + 64 <= cols; c += 64)
      whole &= is_whole(load_as<std::uint64_t>(bitmask + c / 8));
    if (c != cols) { // what lies past the columns is 0, and counts as kept here
      std::uint64_t rest = 0;
      std::memcpy(&rest, bitmask + c / 8, mask_bytes(cols - c));
      const auto past = std::uint64_t{0x3333333333333333u} << (cols - c);
      whole &= is_whole(rest | past) && (rest & ~std::uint64_t{0} << (cols - c)) == 0;
    }
  }
  return whole;
}

/// Roots of the channels for a SIMD path; null where there are none, or no memory.
float* roots_of(const recipe& with, std::size_t cols) noexcept {
  static thread_local scratch memory;
  constexpr std::size_t step_max = 32;
  return with.channels.empty() ? nullptr : memory.of<float>(cols + step_max);
}

} // namespace

status prune(path which, const recipe& with, const matrix& in, std::byte* kept, std::byte* bitmask,
             bool* keeps_zeros) noexcept {
  if (const auto good = check(with, in); !good)
    return good;
  if (which == path::simd) {
    float* const roots = roots_of(with, in.cols);
    if (roots == nullptr && !with.channels.empty())
      return {errc::over_budget};
    const auto done = HWY_DYNAMIC_DISPATCH(sparse24_prune)(in, with.channels, roots, kept, bitmask);
    if (keeps_zeros != nullptr)
      *keeps_zeros = done.keeps_zeros;
    return done.finite ? status{} : refuse_not_finite(in);
  }
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  prune_reference(with, in, kept, bitmask);
  return {};
}

status spread(path which, const std::byte* kept, dtype type, const std::byte* bitmask,
              std::size_t rows, std::size_t cols, bool past_cache, float* out) noexcept {
  if (cols % group != 0)
    return {errc::bad_shape};
  constexpr std::size_t step = 64; // rows whose bitmask is still in cache when they are spread
  for (std::size_t r = 0; r < rows; r += step) {
    const std::size_t count = std::min(step, rows - r);
    const auto* bits = bitmask + r * mask_bytes(cols);
    const auto* values = kept + r * cols / 2 * bytes_of(type);
    if (!whole_mask(bits, count, cols))
      return {errc::malformed};
    (which == path::simd ? HWY_DYNAMIC_DISPATCH(sparse24_spread) : spread_reference)(
        values, type, bits, count, cols, past_cache, out + r * cols);
  }
  if (past_cache)
    hwy::FlushStream();
  return {};
}

bool spreads_past_cache(std::size_t rows, std::size_t cols, const float* out) noexcept {
  return cols % 16 == 0 && stores_past_cache(out, rows * cols * sizeof(float));
}

void map_nibbles(std::span<const std::uint8_t, 16> table, std::byte* bytes,
                 std::size_t count) noexcept {
  HWY_DYNAMIC_DISPATCH(sparse24_map)(table.data(), bytes, count);
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
  return spread(path::reference, in[0], with.source, in[1], rows, cols, false, out);
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  return spread(path::simd, in[0], with.source, in[1], rows, cols,
                spreads_past_cache(rows, cols, out), out);
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
  float* const roots = roots_of(with, in.cols);
  if (roots == nullptr && !with.channels.empty())
    return {errc::over_budget};
  return HWY_DYNAMIC_DISPATCH(sparse24_zero)(in, with.channels, roots, out[0])
             ? status{}
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
