// Encode and measure in one pass over the source, in runs of rows that fit the cache.

#include "kernels/convert.hpp"
#include "kernels/metrics.hpp"
#include "kernels/registry.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace viva::kernels {

namespace {

/// Values of one run: 128 KiB each of source and decoded f32, half of a usual second-level cache.
constexpr std::size_t run_values = std::size_t{32} << 10;

/// Scratch of one thread, kept between calls.
struct scratch {
  std::vector<float> source;
  std::vector<float> decoded;
};

status measure_run(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                   std::span<const std::byte* const> planes, error_sums& sums, path which,
                   scratch& space) {
  const auto* row = with.row;
  space.source.resize(std::max(space.source.size(), in.values()));
  space.decoded.resize(std::max(space.decoded.size(), in.values()));
  const auto decode = which == path::reference ? row->decode_reference : row->decode_simd;
  if (const auto done = decode(with, in.rows, in.cols, numbers, planes, space.decoded.data());
      !done)
    return done;
  const auto load = which == path::reference ? load_f32_reference : load_f32;
  load(in.data, in.type, in.values(), space.source.data());
  const auto measure = which == path::reference ? measure_reference : measure_simd;
  measure(space.source.data(), space.decoded.data(), in.rows, in.cols, sums);
  return {};
}

} // namespace

status encode_and_measure(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                          std::span<std::byte* const> out, error_sums* sums, path which) {
  const auto encode = which == path::reference ? with.row->encode_reference : with.row->encode_simd;
  if (which == path::cuda)
    return {errc::unsupported};
  if (sums == nullptr)
    return encode(with, in, numbers, out);
  static thread_local scratch space;
  const auto shape = with.row->shape(with, in.cols);
  const auto grain = static_cast<std::size_t>(shape.rows_grain);
  const std::size_t rows_wanted = in.cols == 0 ? in.rows : run_values / in.cols;
  const std::size_t step = std::max(grain, rows_wanted / grain * grain);
  for (std::size_t first = 0; first < in.rows; first += step) {
    const matrix run = in.slice(first, std::min(step, in.rows - first));
    std::array<std::byte*, planes_max> to{};
    std::array<const std::byte*, planes_max> from{};
    for (std::size_t p = 0; p < shape.planes_count; ++p)
      from[p] = to[p] = out[p] + shape.planes[p].offset(first, in.cols);
    if (auto done = encode(with, run, numbers, {to.data(), shape.planes_count}); !done) {
      done.position += first * in.cols;
      return done;
    }
    if (const auto done =
            measure_run(with, run, numbers, {from.data(), shape.planes_count}, *sums, which, space);
        !done)
      return done;
  }
  return {};
}

} // namespace viva::kernels
