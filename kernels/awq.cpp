#include "kernels/awq.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/awq.cpp"
#include <hwy/foreach_target.h>

#include "kernels/awq-inl.hpp"
#include "kernels/decode-inl.hpp"
#include "kernels/scalar.hpp"

#include <array>

HWY_BEFORE_NAMESPACE();
namespace viva::kernels::HWY_NAMESPACE {
namespace {

/// Codes of the rows of one unit for one group of columns.
struct awq_tile {
  HWY_ALIGN std::uint8_t codes[awq::unit_rows][awq::group_max];
};

/// Stores the codes of `count` values of one row.
HWY_INLINE void awq_store_codes(const float* HWY_RESTRICT x, std::size_t count,
                                awq::group_code with, std::uint8_t* HWY_RESTRICT out) {
  const df32 d;
  const auto scale = hn::Set(d, with.scale), zero = hn::Set(d, with.zero);
  const hn::Rebind<std::uint8_t, df32> quarter;
  for (std::size_t i = 0; i < count; i += lanes())
    hn::StoreU(
        hn::DemoteTo(quarter, hn::ConvertTo(di32(), awq_codes(hn::LoadU(d, x + i), scale, zero))),
        quarter, out + i);
}

/// The words of `count` columns.
HWY_INLINE void awq_store_words(const awq_tile& tile, std::size_t count,
                                std::byte* HWY_RESTRICT to) {
  const hn::Rebind<std::uint8_t, du32> quarter;
  auto* words = reinterpret_cast<std::uint32_t*>(to);
  for (std::size_t k = 0; k < count; k += lanes()) {
    auto word = hn::Zero(du32());
    for (std::size_t i = awq::unit_rows; i-- > 0;)
      word = hn::Or(hn::ShiftLeft<4>(word),
                    hn::PromoteTo(du32(), hn::LoadU(quarter, tile.codes[awq::order[i]] + k)));
    hn::StoreU(word, du32(), words + k);
  }
}

/// What a call encodes with.
struct awq_job {
  std::size_t group, groups;
  int steps;
  const float* channels; ///< Null: each weighs 1.
};

/// Encodes one group of columns of one unit of rows. False where a value is not finite.
template <class Source>
HWY_INLINE bool awq_encode_tile(Source from, const matrix& unit, const awq_job& job, std::size_t g,
                                std::span<std::byte* const> out) {
  HWY_ALIGN float x[awq::group_max];
  HWY_ALIGN float ones[awq::group_max];
  awq_tile tile{};
  const auto first = g * job.group;
  const auto count = std::min(job.group, unit.cols - first);
  const float* weights = job.channels != nullptr ? job.channels + first : ones;
  if (job.channels == nullptr)
    std::fill_n(ones, count, 1.0f);
  std::uint32_t zeros = 0;
  bool finite = true;
  for (std::size_t r = 0; r < unit.rows; ++r) {
    const auto* at = unit.data + (r * unit.cols + first) * from.bytes;
    for (std::size_t i = 0; i < count; i += lanes())
      hn::Store(load(from, at + i * from.bytes), df32(), x + i);
    const auto range = awq_range(x, count, finite);
    if (!finite)
      return false;
    const auto code = awq_best(x, weights, count, range, job.steps);
    awq_store_codes(x, count, code, tile.codes[r]);
    store_as(f16_from_f32(code.scale), out[1] + (r * job.groups + g) * 2);
    zeros |= static_cast<std::uint32_t>(code.zero) << (4 * awq::place[r]);
  }
  awq_store_words(tile, count, out[0] + first * 4);
  store_as(zeros, out[2] + g * 4);
  return true;
}

} // namespace

status awq_encode(const recipe& with, const matrix& in, int steps,
                  std::span<std::byte* const> out) {
  const auto groups = (in.cols + with.block - 1) / with.block;
  const awq_job job{with.block, groups, steps,
                    with.channels.empty() ? nullptr : with.channels.data()};
  return with_source(in.type, [&](auto from) -> status {
    for (std::size_t r = 0; r < in.rows; r += awq::unit_rows) {
      const auto unit = in.slice(r, std::min(awq::unit_rows, in.rows - r));
      const std::array<std::byte*, 3> to = {out[0] + r / awq::unit_rows * in.cols * 4,
                                            out[1] + r * groups * 2,
                                            out[2] + r / awq::unit_rows * groups * 4};
      for (std::size_t g = 0; g < groups; ++g)
        if (!awq_encode_tile(from, unit, job, g, to))
          return refuse_not_finite(in);
    }
    return {};
  });
}

namespace {

/// Decodes `count` columns of one unit, row by row, so that each row's values are stored in order.
template <class Stores>
HWY_INLINE void awq_decode_tile(const level_table& integers, const std::byte* HWY_RESTRICT words,
                                std::size_t count, const awq::group_code* codes, std::size_t rows,
                                std::size_t cols, float* HWY_RESTRICT out) {
  const auto* in = reinterpret_cast<const std::uint32_t*>(words);
  for (std::size_t r = 0; r < rows; ++r, out += cols) {
    const auto levels = integers.plus(-codes[r].zero).times(codes[r].scale);
    const int shift = 4 * awq::place[r];
    each_vector(count, [&](std::size_t k) VIVA_INLINE_LAMBDA {
      const auto word = hn::ShiftRightSame(hn::LoadU(du32(), in + k), shift);
      Stores::put(levels.at(hn::BitCast(di32(), word)), df32(), out + k);
    });
  }
}

} // namespace

/// Decodes rows by groups of `group` columns. False, where a scale is not finite.
bool awq_decode(std::size_t group, std::size_t rows, std::size_t cols,
                std::span<const std::byte* const> in, float* out) {
  const std::size_t groups = (cols + group - 1) / group;
  const level_table integers; // made once: it comes out of memory where it was just written
  return with_stores(out, aligned_row_bytes(rows, cols), [&](auto stores) {
    for (std::size_t r = 0; r < rows; r += awq::unit_rows) {
      const std::size_t unit = r / awq::unit_rows, here = std::min(awq::unit_rows, rows - r);
      for (std::size_t g = 0; g < groups; ++g) {
        awq::group_code codes[awq::unit_rows];
        if (!awq::read_codes(in, r, here, g, groups, codes))
          return false;
        const std::size_t first = g * group;
        awq_decode_tile<decltype(stores)>(integers, in[0] + (unit * cols + first) * 4,
                                          std::min(group, cols - first), codes, here, cols,
                                          out + r * cols + first);
      }
    }
    return true;
  });
}

} // namespace viva::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace viva::kernels {

HWY_EXPORT(awq_encode);
HWY_EXPORT(awq_decode);

namespace awq {

namespace {

std::size_t groups_in(std::uint64_t cols, std::uint32_t group) noexcept {
  return static_cast<std::size_t>((cols + group - 1) / group);
}

int steps_of(const recipe& with) noexcept {
  return (with.flags & (no_clip | rtn)) != 0 ? 1 : shrinks;
}

void put_nibble(std::byte* words, std::size_t index, std::size_t row, float code) {
  auto word = load_as<std::uint32_t>(words + index * 4);
  if (row == 0)
    word = 0;
  word |= static_cast<std::uint32_t>(code) << (4 * place[row]);
  store_as(word, words + index * 4);
}

/// Encodes one group of one row, the slow and obvious way.
void encode_group(const recipe& with, const matrix& in, std::size_t row, std::size_t g,
                  std::span<std::byte* const> out) {
  const auto groups = groups_in(in.cols, with.block);
  const auto first = g * with.block;
  const auto count = std::min<std::size_t>(with.block, in.cols - first);
  std::array<float, group_max> x{}, weights{};
  for (std::size_t i = 0; i < count; ++i) {
    x[i] = kernels::value_of(in, row * in.cols + first + i);
    weights[i] = with.channels.empty() ? 1.0f : with.channels[first + i];
  }
  const auto range = range_of_reference(x.data(), count);
  auto best = code_of(range, 0);
  float least = group_loss_reference(x.data(), weights.data(), count, best);
  for (int i = 1; i < steps_of(with); ++i) {
    const auto tried = code_of(range, i);
    const float loss = group_loss_reference(x.data(), weights.data(), count, tried);
    if (loss < least) {
      least = loss;
      best = tried;
    }
  }
  const auto unit = row / unit_rows, of_unit = row % unit_rows;
  for (std::size_t i = 0; i < count; ++i)
    put_nibble(out[0], unit * in.cols + first + i, of_unit, code_of(x[i], best));
  store_as(f16_from_f32(best.scale), out[1] + (row * groups + g) * 2);
  put_nibble(out[2], unit * groups + g, of_unit, best.zero);
}

} // namespace

bool read_codes(std::span<const std::byte* const> in, std::size_t row, std::size_t rows,
                std::size_t g, std::size_t groups, group_code* codes) noexcept {
  const auto zeros = load_as<std::uint32_t>(in[2] + (row / unit_rows * groups + g) * 4);
  bool finite = true;
  for (std::size_t i = 0; i < rows; ++i) {
    const auto bits = load_as<std::uint16_t>(in[1] + ((row + i) * groups + g) * 2);
    codes[i] = {f32_from_f16(bits), static_cast<float>(zeros >> (4 * place[i]) & 15u)};
    finite = finite && is_finite(codes[i].scale);
  }
  return finite;
}

group_range range_of_reference(const float* x, std::size_t count) noexcept {
  group_range range;
  for (std::size_t i = 0; i < count; ++i) {
    range.lo = x[i] < range.lo ? x[i] : range.lo;
    range.hi = x[i] > range.hi ? x[i] : range.hi;
    range.magnitude = magnitude(x[i]) > range.magnitude ? magnitude(x[i]) : range.magnitude;
  }
  return range;
}

float group_loss_reference(const float* x, const float* weights, std::size_t count,
                           group_code with) noexcept {
  float sums[sum_lanes] = {};
  for (std::size_t i = 0; i < count; ++i)
    sums[i % sum_lanes] += loss_of(x[i], weights[i], with);
  for (std::size_t half = sum_lanes / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i)
      sums[i] += sums[i + half];
  return sums[0];
}

bool scales_columns(const recipe& with) noexcept {
  return with.row->encode_simd == encode_simd && (with.flags & (rtn | no_scale)) == 0;
}

geometry shape(const recipe& with, std::uint64_t cols) {
  using kind = plane::unit_kind;
  const auto groups = static_cast<std::uint32_t>(groups_in(cols, with.block));
  return {.planes = {plane{"codes", kind::row, 0, static_cast<std::uint32_t>(cols) * 4, unit_rows},
                     plane{"scales", kind::row, 0, groups * 2, 1},
                     plane{"zeros", kind::row, 0, groups * 4, unit_rows}},
          .planes_count = 3,
          .rows_grain = unit_rows};
}

namespace {

/// Vectors of columns are whole, and where channels weigh there is one for each.
bool takes(const recipe& with, const matrix& in) noexcept {
  return in.cols % with.row->cols_multiple == 0
         && (with.channels.empty() || with.channels.size() == in.cols);
}

} // namespace

status encode_reference(const recipe& with, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) noexcept {
  if (!takes(with, in))
    return {errc::bad_shape};
  if (const auto finite = refuse_not_finite_reference(in); !finite)
    return finite;
  for (std::size_t row = 0; row < in.rows; ++row)
    for (std::size_t g = 0; g < groups_in(in.cols, with.block); ++g)
      encode_group(with, in, row, g, out);
  return {};
}

status encode_simd(const recipe& with, const matrix& in, const tensor_numbers&,
                   std::span<std::byte* const> out) noexcept {
  if (!takes(with, in))
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(awq_encode)(with, in, steps_of(with), out);
}

status decode_reference(const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in,
                        float* out) noexcept {
  if (cols % with.row->cols_multiple != 0)
    return {errc::bad_shape};
  const auto groups = groups_in(cols, with.block);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t unit = r / unit_rows, of_unit = r % unit_rows;
      group_code codes[unit_rows];
      if (!read_codes(in, unit * unit_rows, of_unit + 1, g, groups, codes))
        return {errc::malformed};
      for (std::size_t k = g * with.block; k < std::min<std::size_t>(cols, (g + 1) * with.block);
           ++k) {
        const auto word = load_as<std::uint32_t>(in[0] + (unit * cols + k) * 4);
        const auto code = static_cast<float>(word >> (4 * place[of_unit]) & 15u);
        out[r * cols + k] = value_of(code, codes[of_unit]);
      }
    }
  return {};
}

status decode_simd(const recipe& with, std::size_t rows, std::size_t cols, const tensor_numbers&,
                   std::span<const std::byte* const> in, float* out) noexcept {
  if (cols % with.row->cols_multiple != 0)
    return {errc::bad_shape};
  return HWY_DYNAMIC_DISPATCH(awq_decode)(with.block, rows, cols, in, out)
             ? status{}
             : status{errc::malformed};
}

} // namespace awq
} // namespace viva::kernels
#endif
