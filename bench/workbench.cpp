#include "bench/workbench.hpp"

#include "kernels/awq.hpp"
#include "kernels/convert.hpp"
#include "kernels/metrics.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <new>
#include <numbers>
#include <random>

namespace viva::bench {

namespace {

constexpr std::size_t page = 4096;

/// N(0, 0.02) in `type`. Made once for a million values and repeated: a kernel has no memory.
void fill(std::byte* to, std::size_t values, kernels::dtype type) {
  std::vector<float> normal(std::min<std::size_t>(values, std::size_t{1} << 20));
  std::mt19937 random(1);
  std::normal_distribution<float> draw(0, 0.02f);
  std::ranges::generate(normal, [&] { return draw(random); });
  const auto width = kernels::bytes_of(type);
  for (std::size_t first = 0; first < values; first += normal.size())
    kernels::store_f32(normal.data(), type, std::min(normal.size(), values - first),
                       to + first * width);
}

} // namespace

buffer::buffer(std::size_t bytes)
    : x_size(bytes),
      x_data(static_cast<std::byte*>(std::aligned_alloc(page, (bytes / page + 2) * page))) {
  if (!x_data)
    throw std::bad_alloc();
  std::memset(x_data.get(), 0x5A, (bytes / page + 2) * page);
}

arena::arena(std::uint64_t values, kernels::dtype type)
    : x_type(type), x_rows(static_cast<std::size_t>(values) / bench_cols),
      x_source(x_rows * bench_cols * kernels::bytes_of(type)), x_decoded(x_rows * bench_cols * 4) {
  fill(x_source.data(), x_rows * bench_cols, type);
}

const char* to_string(operation op) noexcept {
  switch (op) {
  case operation::encode:
    return "encode";
  case operation::measure:
    return "measure";
  case operation::decode:
    return "decode";
  case operation::survey:
    return "survey";
  case operation::scales:
    return "scales";
  }
  return "";
}

workbench::workbench(const kernels::recipe& with, const arena& place)
    : x_with(with), x_in(place.source()), x_decoded(place.decoded()),
      x_shape(with.row->shape(with, bench_cols)),
      x_grain(static_cast<std::size_t>(x_shape.rows_grain)) {
  x_planes.reserve(x_shape.planes_count);
  for (const auto& plane : x_shape.all())
    x_planes.emplace_back(plane.bytes(0, x_in.rows, bench_cols));
}

status workbench::prepare() {
  if (x_with.row->survey_run != nullptr) {
    kernels::survey found;
    if (const auto done = x_with.row->survey_run(x_with, x_in, found); !done)
      return done;
    x_numbers = x_with.row->survey_finish(x_with, found);
  }
  std::array<std::byte*, kernels::planes_max> out{};
  for (std::size_t p = 0; p < x_planes.size(); ++p)
    out[p] = x_planes[p].data();
  if (const auto done = prepare_scales(); !done)
    return done;
  return x_with.row->encode_simd(x_with, x_in, x_numbers, {out.data(), x_planes.size()});
}

/// The channels as means of squares, and of magnitudes as normal inputs have them.
status workbench::prepare_scales() {
  if (!has(operation::scales))
    return {};
  std::vector<float> mean_abs;
  for (const float square : x_with.channels)
    mean_abs.push_back(std::sqrt(2 * square * std::numbers::inv_pi_v<float>));
  std::vector<std::uint64_t> shares(bench_cols);
  const auto some = x_in.slice(0, std::min<std::size_t>(x_in.rows, 64));
  const auto done = kernels::awq::add_shares(x_with, some, shares.data());
  x_scales = kernels::awq::make_scale_table(mean_abs, x_with.channels, shares, some.rows);
  return done;
}

status workbench::run_scales(const kernels::matrix& in, bool fast) const {
  namespace awq = kernels::awq;
  std::vector<std::uint64_t> shares(bench_cols);
  awq::loss_sums losses;
  const auto done = (fast ? awq::add_shares : awq::add_shares_reference)(x_with, in, shares.data());
  return done ? (fast ? awq::add_losses : awq::add_losses_reference)(x_with, in, x_scales, losses)
              : done;
}

bool workbench::has(operation op) const noexcept {
  return op == operation::survey ? x_with.row->survey_run != nullptr
         : op == operation::scales
             ? !x_with.channels.empty() && kernels::awq::scales_columns(x_with)
             : true;
}

std::uint64_t workbench::plane_bytes(std::size_t rows) const {
  std::uint64_t bytes = 0;
  for (const auto& plane : x_shape.all())
    bytes += plane.bytes(0, rows, bench_cols);
  return bytes;
}

void workbench::run(operation op, kernels::path which, std::size_t rows, unsigned part,
                    unsigned parts) {
  const std::size_t grains = (rows + x_grain - 1) / x_grain;
  const std::size_t first = std::min(rows, grains * part / parts * x_grain);
  const std::size_t last = std::min(rows, grains * (part + 1) / parts * x_grain);
  const auto in = x_in.slice(first, last - first);
  std::array<std::byte*, kernels::planes_max> to{};
  std::array<const std::byte*, kernels::planes_max> from{};
  for (std::size_t p = 0; p < x_planes.size(); ++p)
    from[p] = to[p] = x_planes[p].data() + x_shape.planes[p].offset(first, bench_cols);
  const std::span<std::byte* const> out(to.data(), x_planes.size());
  const auto& row = *x_with.row;
  const bool fast = which == kernels::path::simd;
  status done;
  if (op == operation::encode) {
    done = (fast ? row.encode_simd : row.encode_reference)(x_with, in, x_numbers, out);
  } else if (op == operation::measure) {
    kernels::error_sums sums;
    done = kernels::encode_and_measure(x_with, in, x_numbers, out, &sums, which);
  } else if (op == operation::decode) {
    done = (fast ? row.decode_simd : row.decode_reference)(x_with, in.rows, bench_cols, x_numbers,
                                                           {from.data(), x_planes.size()},
                                                           x_decoded + first * bench_cols);
  } else if (op == operation::scales) {
    done = run_scales(in, fast);
  } else {
    kernels::survey found;
    done = row.survey_run(x_with, in, found);
  }
  static_cast<void>(done); // prepare() has seen these bytes accepted
}

} // namespace viva::bench
