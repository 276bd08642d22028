#pragma once

// llm-int8 on a device, by llm_int8.hpp's functions.

#include "kernels/device_runs.hpp"
#include "kernels/llm_int8.hpp"

namespace viva::kernels {

/// llm-int8: f16 values, an f32 scale, a product by its inverse.
struct llm_int8_rule : by_magnitude {
  std::byte* codes;
  std::byte* scales;

  /// Rounding to f16 keeps the order, so the largest rounded is the largest one's.
  VIVA_HD float open(key most, std::size_t) const noexcept {
    return llm_int8::half_of(float_of(most));
  }
  VIVA_HD void put_scale(std::size_t unit, float scb) const noexcept {
    store_as(scb, scales + unit * sizeof(float));
  }
  VIVA_HD void put(std::size_t first, std::size_t at, std::size_t n, const float* x,
                   float scb) const noexcept {
    const float inverse = llm_int8::inverse_of(scb);
    std::uint32_t four = 0;
    for (std::size_t k = 0; k < 4; ++k)
      if (k < n) {
        const auto code = llm_int8::code_of(llm_int8::half_of(x[k]), inverse);
        four |= std::uint32_t{static_cast<std::uint8_t>(code)} << 8 * k;
      }
    put_bytes(four, n, codes + first + at);
  }
};

struct llm_int8_values {
  const std::byte* codes;
  const std::byte* scales;

  VIVA_HD float open(std::size_t unit) const noexcept {
    return load_as<float>(scales + unit * sizeof(float));
  }
  VIVA_HD bool values(std::size_t first, std::size_t at, std::size_t n, float scb,
                      float* x) const noexcept {
    const std::uint32_t four = get_bytes(codes + first + at, n);
    for (std::size_t k = 0; k < 4; ++k)
      x[k] = static_cast<float>(static_cast<std::int8_t>(four >> 8 * k)) * scb * llm_int8::step;
    return is_finite(scb);
  }
};

} // namespace viva::kernels
