#include "actors/engine.hpp"

namespace viva::actors {

using namespace kernels;

status engine::encode(const recipe& with, const matrix& in, const tensor_numbers& numbers,
                      std::span<std::byte* const> out, error_sums& sums) {
  return encode_and_measure(with, in, numbers, out, &sums);
}

status engine::decode(const recipe& with, std::size_t rows, std::size_t cols,
                      const tensor_numbers& numbers, std::span<const std::byte* const> in,
                      float* out) {
  return with.row->decode_simd(with, rows, cols, numbers, in, out);
}

status engine::survey(const recipe& with, const matrix& in, kernels::survey& found) {
  return with.row->survey_run(with, in, found);
}

std::uint64_t engine::run_values(std::uint64_t cached) const noexcept {
  return cached;
}

engine& processor() noexcept {
  static engine the_processor;
  return the_processor;
}

} // namespace viva::actors
