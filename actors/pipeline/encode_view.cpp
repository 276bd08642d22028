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
constexpr std::uint64_t kept_bytes = run_values * sizeof(float); // of scratch, by each thread

/// Scratch of a thread: `kept`, as long as that does for it, or memory that goes with this.
template <class T>
class scratch_of {
public:
  scratch_of(std::vector<T>& kept, std::uint64_t count)
      : x_from(count * sizeof(T) <= kept_bytes ? kept : x_own) {
    x_from.resize(std::max<std::size_t>(x_from.size(), count));
  }
  scratch_of(const scratch_of&) = delete;
  T* data() const noexcept {
    return x_from.data();
  }

private:
  std::vector<T> x_own;
  std::vector<T>& x_from;
};

/// Rows of a run: some `run_values`, and at least the grain.
std::uint64_t rows_of_run(std::uint64_t cols, std::uint64_t grain, std::uint64_t all) {
  const auto wanted = cols == 0 ? all : run_values / cols;
  return std::max(grain, wanted / grain * grain);
}

/// Bytes of rows that are apart and have to be together: a row alone is.
std::uint64_t run_bytes(const tensor_view& view, row_run rows, std::uint64_t grain) {
  const auto count = std::min(rows.count, rows_of_run(view.cols, grain, rows.count));
  return view.dense() || count == 1 ? 0 : count * view.cols * kernels::bytes_of(view.type);
}

/// Calls `each` with dense runs of rows, in order, until one is refused. A run starts at a multiple
/// of `grain`.
template <class Each>
status walk_rows(const tensor_view& view, row_run rows, std::uint64_t grain,
                 const lane_floor& floor, Each each) {
  const auto step = rows_of_run(view.cols, grain, rows.count);
  const auto line = view.cols * kernels::bytes_of(view.type);
  thread_local std::vector<std::byte> kept;
  const scratch_of<std::byte> together(kept, run_bytes(view, rows, grain));
  for (auto at = rows.first; at < rows.first + rows.count; at += step) {
    floor.step();
    const auto count = std::min(step, rows.first + rows.count - at);
    const std::byte* data = view.data + at * view.step();
    if (!view.dense() && count > 1) {
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

std::uint64_t together_bytes(const kernels::recipe& how, const tensor_view& view) {
  const auto bytes
    = run_bytes(view, {0, view.rows}, how.row->shape(how, view.cols).rows_grain);
  return bytes > kept_bytes ? bytes : 0;
}

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

/// A piece of a row, from a multiple of `ways` on, so that sums are those of the whole row.
void add_row(error_tally& sums, const std::byte* values, dtype type, std::uint64_t count,
             const float* decoded) {
  std::array<float, 4096> source;
  static_assert(source.size() % error_tally::ways == 0);
  for (std::uint64_t at = 0; at < count; at += source.size()) {
    const auto some = std::min<std::uint64_t>(source.size(), count - at);
    kernels::load_f32(values + at * kernels::bytes_of(type), type, some, source.data());
    sums.add(source.data(), decoded + at, some);
  }
}

/// Columns of a long row that can be decoded as a row of their own: `run_values` where no unit of a
/// plane lies across their end and what a row has once is the same for fewer columns; else all.
std::uint64_t cols_of_run(const kernels::recipe& how, const kernels::geometry& shape,
                          std::uint64_t cols) {
  using kind = kernels::plane::unit_kind;
  if (cols <= run_values)
    return cols;
  const auto rest = cols % run_values;
  const auto run = how.row->shape(how, run_values),
             last = how.row->shape(how, rest != 0 ? rest : run_values);
  bool fits = run_values % how.cols_multiple() == 0;
  for (std::size_t p = 0; fits && p < shape.planes_count; ++p) {
    const auto& each = shape.planes[p];
    if (each.unit == kind::values)
      fits = run_values % each.unit_values == 0;
    else if (each.unit == kind::row)
      fits = each.unit_rows == 1 && run.planes[p].unit_bytes == each.unit_bytes
             && last.planes[p].unit_bytes == each.unit_bytes;
  }
  return fits ? run_values : cols;
}

} // namespace

tensor_error measure_whole(const kernels::recipe& how, const tensor_view& view,
                           const plane_map& map, const std::byte* planes,
                           const kernels::tensor_numbers& numbers) {
  const auto shape = how.row->shape(how, view.cols);
  const auto rows = std::min(view.rows, rows_of_run(view.cols, shape.rows_grain, view.rows));
  const auto cols = rows == 1 ? cols_of_run(how, shape, view.cols) : view.cols;
  thread_local std::vector<float> kept;
  const scratch_of<float> decoded(kept, rows * cols);
  error_tally sums;
  for (std::uint64_t r = 0; r < view.rows; r += rows)
    for (std::uint64_t c = 0; c < view.cols; c += cols) {
      const auto high = std::min(rows, view.rows - r), wide = std::min(cols, view.cols - c);
      std::array<const std::byte*, kernels::planes_max> from{};
      for (std::size_t p = 0; p < map.count; ++p) {
        const auto& each = shape.planes[p];
        from[p] = planes + map.offset[p] + each.offset(r, view.cols);
        if (each.unit == kernels::plane::unit_kind::values)
          from[p] += c / each.unit_values * each.unit_bytes;
      }
      const auto done = how.row->decode_simd(how, high, wide, numbers, {from.data(), map.count},
                                             decoded.data());
      if (!done)
        throw std::logic_error("what was just encoded cannot be decoded");
      for (std::uint64_t i = 0; i < high; ++i)
        add_row(sums, view.data + (r + i) * view.step() + c * kernels::bytes_of(view.type),
                view.type, wide, decoded.data() + i * wide);
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
