#include "actors/scaled_rows.hpp"

#include "kernels/convert.hpp"

#include <algorithm>
#include <array>

namespace viva::actors {

using kernels::matrix;

namespace {

/// Values of one run: with its decoded image 128 KiB of f32, which stays in the second-level cache.
constexpr std::uint64_t run_values = 16 << 10;

/// What a call encodes with, and its scratch.
struct scaled_encoder {
  kernels::recipe with;
  kernels::geometry shape;
  std::vector<float>& values;

  status run(const matrix& in, const scaled_run& rows, std::span<std::byte* const> out,
             kernels::error_sums& sums) const {
    kernels::load_f32(in.data, in.type, in.values(), values.data());
    scale_run(rows, values.data());
    const matrix scaled{reinterpret_cast<const std::byte*>(values.data()), kernels::dtype::f32,
                        in.rows, in.cols};
    if (const auto done = with.row->encode_simd(with, scaled, {}, out); !done)
      return done;
    std::array<const std::byte*, kernels::planes_max> from{};
    std::ranges::copy(out, from.begin());
    if (const auto done = with.row->decode_simd(with, in.rows, in.cols, {},
                                                {from.data(), out.size()}, values.data());
        !done)
      return done;
    unscale_run(rows, values.data());
    kernels::measure_simd(in, values.data(), sums);
    return {};
  }
};

} // namespace

void scale_run(const scaled_run& run, float* values) noexcept {
  for (std::uint64_t n = 0; n < run.rows; ++n, values += run.cols) {
    if (run.columns_by != nullptr)
      for (std::uint64_t k = 0; k < run.cols; ++k)
        values[k] *= (*run.columns_by)[k];
    if (run.rows_by != nullptr)
      for (std::uint64_t k = 0; k < run.cols; ++k)
        values[k] /= (*run.rows_by)[run.first + n];
  }
}

void unscale_run(const scaled_run& run, float* values) noexcept {
  for (std::uint64_t n = 0; n < run.rows; ++n, values += run.cols) {
    if (run.columns_by != nullptr)
      for (std::uint64_t k = 0; k < run.cols; ++k)
        values[k] /= (*run.columns_by)[k];
    if (run.rows_by != nullptr)
      for (std::uint64_t k = 0; k < run.cols; ++k)
        values[k] *= (*run.rows_by)[run.first + n];
  }
}

status encode_scaled(const kernels::recipe& as, const matrix& in, std::uint64_t first,
                     const searched& by, std::span<std::byte* const> out,
                     kernels::error_sums& sums) {
  thread_local std::vector<float> values, channels;
  auto with = as;
  with.source = kernels::dtype::f32;
  if (by.columns && !as.channels.empty()) {
    channels = kernels::awq::scaled_weights(as.channels, *by.columns);
    with.channels = channels;
  }
  const scaled_encoder encoder{with, with.row->shape(with, in.cols), values};
  const auto grain = encoder.shape.rows_grain;
  const auto step = std::max(grain, run_values / in.cols / grain * grain);
  values.resize(std::min<std::uint64_t>(step, in.rows) * in.cols);
  for (std::uint64_t at = 0; at < in.rows; at += step) {
    const auto count = std::min<std::uint64_t>(step, in.rows - at);
    std::array<std::byte*, kernels::planes_max> to{};
    for (std::size_t p = 0; p < out.size(); ++p)
      to[p] = out[p] + encoder.shape.planes[p].offset(at, in.cols);
    const scaled_run rows{first + at, count, in.cols, by.columns.get(), by.rows.get()};
    if (auto done = encoder.run(in.slice(at, count), rows, {to.data(), out.size()}, sums); !done) {
      done.position += at * in.cols;
      return done;
    }
  }
  return {};
}

} // namespace viva::actors
