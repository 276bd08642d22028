// Encode and measure in one pass over the source, in runs of rows that fit the cache.

#include "kernels/metrics.hpp"
#include "kernels/registry.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace viva::kernels {

namespace {

/// Values of one run: source and decoded f32 take 32 KiB and stay in the first-level cache, or in
/// the second where a method's grain is longer.
constexpr std::size_t run_values = std::size_t{4} << 10;

/// `count` floats at an address of whole lines: vectors across two lines cost twice.
float* aligned_floats(std::vector<float>& memory, std::size_t count) {
  constexpr std::size_t line_floats = 64 / sizeof(float);
  memory.resize(std::max(memory.size(), count + line_floats));
  const auto misplaced = reinterpret_cast<std::uintptr_t>(memory.data()) / sizeof(float);
  return memory.data() + (line_floats - misplaced % line_floats) % line_floats;
}

status measure_run(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                   std::span<const std::byte* const> planes, error_sums& sums, path which,
                   float* decoded) {
  const auto* row = with.row;
  const auto decode = which == path::reference ? row->decode_reference : row->decode_simd;
  if (const auto done = decode(with, in.rows, in.cols, numbers, planes, decoded); !done)
    return done;
  (which == path::reference ? measure_reference : measure_simd)(in, decoded, sums);
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
  static thread_local std::vector<float> memory; // kept between calls
  const auto shape = with.row->shape(with, in.cols);
  const auto grain = static_cast<std::size_t>(shape.rows_grain);
  const std::size_t rows_wanted = in.cols == 0 ? in.rows : run_values / in.cols;
  const std::size_t step = std::max(grain, rows_wanted / grain * grain);
  auto* decoded = aligned_floats(memory, std::min(step, in.rows) * in.cols);
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
    if (const auto done = measure_run(with, run, numbers, {from.data(), shape.planes_count}, *sums,
                                      which, decoded);
        !done)
      return done;
  }
  return {};
}

} // namespace viva::kernels
