#include "actors/pipeline/encode_view.hpp"

#include "kernels/convert.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

namespace viva::actors {
namespace {

constexpr std::uint64_t run_values = 256 << 10; // 1 MiB of f32: scratch and steps stay short

/// Calls `each` with dense runs of rows, in order, until one is refused. A run starts at a multiple
/// of `grain`.
template <class Each>
status walk_rows(const tensor_view& view, row_run rows, std::uint64_t grain,
                 const lane_floor& floor, Each each) {
  const auto wanted = view.cols == 0 ? rows.count : run_values / view.cols;
  const auto step = std::max(grain, wanted / grain * grain);
  const auto line = view.cols * kernels::bytes_of(view.type);
  thread_local std::vector<std::byte> together;
  for (auto at = rows.first; at < rows.first + rows.count; at += step) {
    floor.step();
    const auto count = std::min(step, rows.first + rows.count - at);
    const std::byte* data = view.data + at * line;
    if (!view.dense()) {
      together.resize(std::max<std::size_t>(together.size(), count * line));
      for (std::uint64_t r = 0; r < count; ++r)
        std::memcpy(together.data() + r * line, view.data + (at + r) * view.row_bytes, line);
      data = together.data();
    }
    if (auto done = each(at, kernels::matrix{data, view.type, count, view.cols}); !done) {
      done.position += at * view.cols;
      return done;
    }
  }
  return {};
}

} // namespace

expected<void> check_view(const kernels::recipe& how, const tensor_view& view,
                          std::string_view what) {
  const auto name = std::string(what);
  const auto shape = std::to_string(view.rows) + " x " + std::to_string(view.cols);
  constexpr auto values_max = std::uint64_t{1} << 48;
  if (view.type != how.source)
    return fail(errc::bad_shape, name + ": is " + std::string(kernels::name_of(view.type))
                                   + ", others of this call are "
                                   + std::string(kernels::name_of(how.source))
                                   + "; stream each type by itself");
  if (view.rows == 0 || view.cols == 0 || view.rows > values_max / view.cols)
    return fail(errc::bad_shape, name + ": a shape of " + shape + " holds nothing to encode");
  if (view.data == nullptr)
    return fail(errc::bad_shape, name + ": its memory does not hold " + shape + " values");
  if (view.row_bytes != 0 && view.row_bytes < view.cols * kernels::bytes_of(view.type))
    return fail(errc::bad_shape, name + ": rows of " + std::to_string(view.cols)
                                   + " values overlap, " + std::to_string(view.row_bytes)
                                   + " bytes from one to the next");
  if (const auto multiple = how.cols_multiple(); view.cols % multiple != 0)
    return fail(errc::bad_shape, name + ": " + std::to_string(view.cols) + " columns are no"
                                   + " multiple of " + std::to_string(multiple) + ", as "
                                   + how.name() + " wants; pad the rows or take another method");
  return {};
}

error name_problem(const status& why, const kernels::recipe& how, std::uint64_t cols,
                   std::string_view what) {
  const auto name = std::string(what);
  if (why.code == errc::not_finite)
    return {why.code, name + ": NaN or infinity at [" + std::to_string(why.position / cols) + ", "
                        + std::to_string(why.position % cols)
                        + "]; replace it, or keep this tensor as it is"};
  return {why.code, name + ": " + how.name() + " refuses it: "
                      + std::string(to_string(why.code))};
}

status encode_rows(const kernels::recipe& how, const tensor_view& view, row_run rows,
                   const kernels::tensor_numbers& numbers, const plane_map& map, std::byte* out,
                   const lane_floor& floor) {
  const auto shape = how.row->shape(how, view.cols);
  return walk_rows(view, rows, shape.rows_grain, floor, [&](auto at, const kernels::matrix& run) {
    std::array<std::byte*, kernels::planes_max> to{};
    for (std::size_t p = 0; p < map.count; ++p)
      to[p] = out + map.offset[p] + shape.planes[p].offset(at, view.cols);
    return how.row->encode_simd(how, run, numbers, {to.data(), map.count});
  });
}

status survey_rows(const kernels::recipe& how, const tensor_view& view, row_run rows,
                   kernels::survey& seen, const lane_floor& floor) {
  const auto shape = how.row->shape(how, view.cols);
  return walk_rows(view, rows, shape.rows_grain, floor,
                   [&](auto, const kernels::matrix& run) {
                     return how.row->survey_run(how, run, seen);
                   });
}

namespace {

/// Sums over pairs of values. Eight of each, so that additions need not wait for each other; their
/// order is fixed, and so are the bits.
struct error_tally {
  static constexpr std::size_t ways = 8;
  std::array<double, ways> errors{}, sources{};
  float most = 0;

  void add(const float* x, const float* y, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) {
      const float e = x[i] - y[i];
      errors[i % ways] += double(e) * e;
      sources[i % ways] += double(x[i]) * x[i];
      most = std::max(most, std::abs(e));
    }
  }
  tensor_error finish(std::uint64_t count) const noexcept {
    double e = 0, s = 0;
    for (std::size_t i = 0; i < ways; ++i) {
      e += errors[i];
      s += sources[i];
    }
    const auto none = std::numeric_limits<double>::infinity();
    return {e / static_cast<double>(count), e > 0 ? 10 * std::log10(s / e) : none, most};
  }
};

} // namespace

tensor_error measure_whole(const kernels::recipe& how, const tensor_view& view,
                           const plane_map& map, const std::byte* planes,
                           const kernels::tensor_numbers& numbers) {
  thread_local std::vector<float> decoded, source;
  decoded.resize(view.values());
  std::array<const std::byte*, kernels::planes_max> from{};
  for (std::size_t p = 0; p < map.count; ++p)
    from[p] = planes + map.offset[p];
  const auto done = how.row->decode_simd(how, view.rows, view.cols, numbers,
                                         {from.data(), map.count}, decoded.data());
  if (!done)
    throw std::logic_error("what was just encoded cannot be decoded");
  source.resize(view.cols);
  error_tally sums;
  for (std::uint64_t r = 0; r < view.rows; ++r) {
    kernels::load_f32(view.data + r * view.step(), view.type, view.cols, source.data());
    sums.add(source.data(), decoded.data() + r * view.cols, view.cols);
  }
  return sums.finish(view.values());
}

status encode_whole(const kernels::recipe& how, const tensor_view& view, const plane_map& map,
                    std::byte* out, kernels::tensor_numbers& numbers, const lane_floor& floor) {
  if (how.row->survey_run != nullptr) {
    kernels::survey seen;
    if (const auto done = survey_rows(how, view, {0, view.rows}, seen, floor); !done)
      return done;
    numbers = how.row->survey_finish(how, seen);
  }
  if (view.dense() && view.values() <= run_values) [[likely]] { // the many small ones
    floor.step();
    std::array<std::byte*, kernels::planes_max> to{};
    for (std::size_t p = 0; p < map.count; ++p)
      to[p] = out + map.offset[p];
    return how.row->encode_simd(how, {view.data, view.type, view.rows, view.cols}, numbers,
                                {to.data(), map.count});
  }
  return encode_rows(how, view, {0, view.rows}, numbers, map, out, floor);
}

} // namespace viva::actors
