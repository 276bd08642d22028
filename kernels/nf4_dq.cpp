#include "kernels/nf4_dq.hpp"

#include "kernels/blockwise.hpp"
#include "kernels/nf4_dq_map.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/nf4_dq.cpp"
#include <hwy/foreach_target.h>

#include "kernels/nf4-inl.hpp"

#include <cmath>
#include <span>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {

/// What the maxima of one nested block become.
using nf4_dq_put = void(const float* absmax, std::size_t count, float offset, std::size_t nested,
                        std::span<std::byte* const> out);

/// Codes of all values; `put` takes the maxima of each nested block. False where a value is not
/// finite.
bool nf4_dq_encode(const matrix& in, std::size_t block, float offset, nf4_dq_put* put,
                   std::span<std::byte* const> out) {
  constexpr std::size_t all = nf4_dq::nested_blocks;
  const std::size_t blocks = blocks_in(in.values(), block);
  HWY_ALIGN float absmax[all] = {};
  const auto gather = [&](std::size_t b, const float* scales, std::size_t count) {
    std::memcpy(absmax + b % all, scales, count * sizeof(float)); // batches divide nested blocks
    const std::size_t end = b + count;
    if (end % all == 0 || end == blocks)
      put(absmax, (end - 1) % all + 1, offset, (end - 1) / all, out);
  };
  return with_source(in.type, [&](auto from) {
    return nf4_encode_values<nf4_book>(from, in.data, in.values(), block, out[0], gather);
  });
}

/// u = clamp((absmax - offset) / nested, -1, 1) of a nested block's maxima; returns nested, the
/// largest |absmax - offset|. `absmax` and `u` hold all of a nested block.
float nf4_dq_centre(const float* absmax, std::size_t count, float offset, float* u) {
  const df32 d;
  auto largest = hn::Zero(d);
  std::size_t whole = 0;
  for (; whole + lanes() <= count; whole += lanes())
    largest = hn::Max(largest, hn::Abs(hn::Sub(hn::LoadU(d, absmax + whole), hn::Set(d, offset))));
  float nested = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (std::size_t b = whole; b < count; ++b)
    nested = std::max(nested, magnitude(absmax[b] - offset));
  const auto inverse = hn::Set(d, nf4::inverse_of(nested));
  for (std::size_t b = 0; b < count; b += lanes()) {
    const auto t = hn::Mul(hn::Sub(hn::LoadU(d, absmax + b), hn::Set(d, offset)), inverse);
    hn::StoreU(hn::Min(hn::Max(t, hn::Set(d, -1.0f)), hn::Set(d, 1.0f)), d, u + b);
  }
  return nested;
}

void nf4_dq_decode(const nf4_dq::scale_planes& scales, const std::byte* codes, std::size_t values,
                   std::size_t block, float* out) {
  const auto load = [&](std::size_t first, std::size_t count, float* to) {
    const float nested = load_as<float>(scales.nested + first / nf4_dq::nested_blocks * 4);
    for (std::size_t b = 0; b < count; ++b)
      to[b] = scales.map[static_cast<std::size_t>(scales.codes[first + b])] * nested;
    for (std::size_t b = 0; b < count; b += lanes())
      hn::Store(hn::Add(hn::Load(df32(), to + b), hn::Set(df32(), scales.offset)), df32(), to + b);
  };
  with_stores(out, values * sizeof(float), [&](auto stores) {
    nf4_decode_blocks<nf4_book, decltype(stores)>(codes, values, block, load, out);
    return true;
  });
}

/// Largest magnitude's bits of `count` values.
std::uint32_t nf4_dq_magnitude_max(const std::byte* in, dtype type, std::size_t count) {
  return with_source(type, [&](auto from) {
    return static_cast<std::uint32_t>(fold_all<magnitude_fold>(from, in, count));
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(nf4_dq_encode);
HWY_EXPORT(nf4_dq_centre);
HWY_EXPORT(nf4_dq_decode);
HWY_EXPORT(nf4_dq_magnitude_max);

namespace nf4_dq {

namespace {

constexpr std::array<float, 256> make_map() {
  std::array<float, 256> map{};
  for (unsigned i = 0; i < map.size(); ++i)
    map[i] = map_level(i);
  return map;
}

constexpr std::array<float, 255> make_midpoints(const std::array<float, 256>& map) {
  std::array<float, 255> midpoints{};
  for (std::size_t i = 0; i < midpoints.size(); ++i)
    midpoints[i] = (map[i] + map[i + 1]) * 0.5f;
  return midpoints;
}

constexpr auto map_table = make_map();
constexpr auto midpoint_table = make_midpoints(map_table);

/// The midpoints, and one that is above everything.
constexpr auto midpoints_and_end = [] {
  std::array<float, 256> all{};
  std::ranges::copy(midpoint_table, all.begin());
  all.back() = float_of(infinity_bits);
  return all;
}();

/// Cells of u in [-1, 1] by sign, exponent and five bits of the mantissa: how many midpoints lie
/// below the least value of each. At most two lie inside, so an index is a look-up and two
/// comparisons. Magnitudes below 2^-22 share the first cell of their sign.
struct index_cells {
  static constexpr int shift = 23 - 5;
  static constexpr std::uint32_t first = (127u - 22) << 5; ///< That of 2^-22.
  static constexpr std::size_t count = 22 * 32 + 1;        ///< To that of 1.
  std::array<std::uint8_t, 2 * count> below{};
  std::size_t most_inside = 0;

  constexpr index_cells() {
    for (std::size_t k = 0; k < count; ++k) {
      const std::uint32_t low = k == 0 ? 0 : static_cast<std::uint32_t>(first + k) << shift;
      const std::uint32_t high = (static_cast<std::uint32_t>(first + k + 1) << shift) - 1;
      add(k, float_of(low), float_of(high));
      add(count + k, -float_of(high), -float_of(low));
    }
  }
  constexpr void add(std::size_t cell, float least, float most) {
    const auto under = [](float u) {
      std::size_t n = 0;
      for (std::size_t step = 128; step != 0; step /= 2)
        n += midpoint_table[n + step - 1] < u ? step : 0;
      return n;
    };
    below[cell] = static_cast<std::uint8_t>(under(least));
    most_inside = std::max(most_inside, under(most) - under(least));
  }

  std::uint8_t index_of(float u) const noexcept {
    const auto cell = std::max(magnitude_bits(u) >> shift, first) - first;
    std::size_t index = below[cell + (std::signbit(u) ? count : 0)];
    index += midpoints_and_end[index] < u ? 1 : 0;
    index += midpoints_and_end[index] < u ? 1 : 0;
    return static_cast<std::uint8_t>(index);
  }
};

constexpr index_cells cells;
static_assert(cells.most_inside <= 2);

/// Encodes the maxima of one nested block, by the obvious search.
void put_nested_reference(const float* absmax, std::size_t count, float offset, std::size_t nested,
                          std::span<std::byte* const> out) noexcept {
  float largest = 0;
  for (std::size_t b = 0; b < count; ++b)
    largest = std::max(largest, magnitude(absmax[b] - offset));
  const float inverse = nf4::inverse_of(largest);
  for (std::size_t b = 0; b < count; ++b)
    out[1][nested * nested_blocks + b] = std::byte{index_of((absmax[b] - offset) * inverse)};
  store_as(largest, out[2] + 4 * nested);
}

/// The same by vectors and cells.
void put_nested(const float* absmax, std::size_t count, float offset, std::size_t nested,
                std::span<std::byte* const> out) {
  std::array<float, nested_blocks> u;
  store_as(HWY_DYNAMIC_DISPATCH(nf4_dq_centre)(absmax, count, offset, u.data()),
           out[2] + 4 * nested);
  for (std::size_t b = 0; b < count; ++b)
    out[1][nested * nested_blocks + b] = std::byte{cells.index_of(u[b])};
}

} // namespace

const std::array<float, 256>& dynamic_map() noexcept {
  return map_table;
}

geometry shape(const recipe& with, std::uint64_t cols) {
  using kind = plane::unit_kind;
  const auto nested_values = static_cast<std::uint32_t>(with.block * nested_blocks);
  return {.planes = {plane{"codes", kind::values, 2, 1},
                     plane{"absmax", kind::values, with.block, 1},
                     plane{"nested_absmax", kind::values, nested_values, 4}},
          .planes_count = 3,
          .rows_grain = rows_filling(nested_values, cols)};
}

namespace {

bool all_nested_finite(const recipe& with, std::size_t values, float offset,
                       const std::byte* nested) noexcept {
  bool finite = is_finite(offset);
  for (std::size_t n = 0; n < blocks_in(values, with.block * nested_blocks); ++n)
    finite = finite && is_finite(load_as<float>(nested + 4 * n));
  return finite;
}

} // namespace

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                        std::span<std::byte* const> out) noexcept {
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  const std::size_t run = with.block * nested_blocks;
  for_each_block(in.values(), run, [&](std::size_t n, std::size_t first, std::size_t count) {
    std::array<float, nested_blocks> absmax;
    const matrix part{in.data + first * bytes_of(in.type), in.type, 1, count};
    nf4::encode_blocks_reference(part, with.block, out[0] + first / 2, absmax.data());
    put_nested_reference(absmax.data(), blocks_in(count, with.block), numbers.values[0], n, out);
  });
  return {};
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                   std::span<std::byte* const> out) noexcept {
  if (HWY_DYNAMIC_DISPATCH(nf4_dq_encode)(in, with.block, numbers.values[0], put_nested, out))
    return {};
  return refuse_not_finite(in);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers& numbers, std::span<const std::byte* const> in,
                        float* out) noexcept {
  const float offset = numbers.values[0];
  if (!all_nested_finite(with, rows * cols, offset, in[2]))
    return {errc::malformed};
  for_each_block(rows * cols, with.block, [&](std::size_t b, std::size_t first, std::size_t count) {
    const float nested = load_as<float>(in[2] + b / nested_blocks * 4);
    const float absmax = map_table[static_cast<std::size_t>(in[1][b])] * nested + offset;
    nf4::decode_blocks_reference(in[0] + first / 2, &absmax, count, with.block, out + first);
  });
  return {};
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols,
                   const tensor_numbers& numbers, std::span<const std::byte* const> in,
                   float* out) noexcept {
  const float offset = numbers.values[0];
  if (!all_nested_finite(with, rows * cols, offset, in[2]))
    return {errc::malformed};
  const scale_planes scales{map_table.data(), in[1], in[2], offset};
  HWY_DYNAMIC_DISPATCH(nf4_dq_decode)(scales, in[0], rows * cols, with.block, out);
  return {};
}

status survey_run(const recipe& with, const matrix& in, survey& found) noexcept {
  const auto magnitude_max_of = HWY_DYNAMIC_DISPATCH(nf4_dq_magnitude_max);
  survey run;
  bool finite = true;
  for_each_block(in.values(), with.block, [&](std::size_t, std::size_t first, std::size_t count) {
    const auto bits = magnitude_max_of(in.data + first * bytes_of(in.type), in.type, count);
    finite = finite && bits < infinity_bits;
    run.sum.add(float_of(bits));
    run.max = std::max(run.max, float_of(bits));
    ++run.count;
  });
  if (!finite)
    return refuse_not_finite(in);
  found.merge(run);
  return {};
}

tensor_numbers survey_finish(const recipe&, const survey& found) {
  if (found.count == 0)
    return {};
  return {{static_cast<float>(found.sum.value() / static_cast<double>(found.count)), 0.0f}};
}

} // namespace nf4_dq
} // namespace viva::kernels
#endif
