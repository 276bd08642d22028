#pragma once

// On a device: nf4, nf4-f16, nf4-dq, nf4-signed.

#include "kernels/device_methods.hpp"
#include "kernels/device_nf4_dq.hpp"

namespace viva::kernels {

template <class Device, class Rule>
status encode_flat(Device& on, const recipe& with, const matrix& in, const Rule& rule) {
  encode_by_runs(on, in, runs_in(in.values(), with.block), with.block, rule);
  return {};
}

template <class Device>
status encode_nf4(Device& on, const recipe& with, const matrix& in, const tensor_numbers&,
                  std::span<std::byte* const> out) {
  return encode_flat(on, with, in, nf4_rule<f32_scales>{{}, out[0], {out[1]}});
}

template <class Device>
status encode_nf4_f16(Device& on, const recipe& with, const matrix& in, const tensor_numbers&,
                      std::span<std::byte* const> out) {
  return encode_flat(on, with, in, nf4_rule<f16_scales>{{}, out[0], {out[1]}});
}

template <class Device>
status encode_nf4_signed(Device& on, const recipe& with, const matrix& in, const tensor_numbers&,
                         std::span<std::byte* const> out) {
  return encode_flat(on, with, in, nf4_signed_rule{out[0], out[1]});
}

template <class Device>
status encode_nf4_dq(Device& on, const recipe& with, const matrix& in,
                     const tensor_numbers& numbers, std::span<std::byte* const> out) {
  const std::size_t blocks = runs_in(in.values(), with.block);
  auto* const absmax = on.template scratch<float>(blocks);
  if (absmax == nullptr)
    return {errc::over_budget};
  auto* const bytes = reinterpret_cast<std::byte*>(absmax);
  if (const auto done = encode_flat(on, with, in, nf4_rule<f32_scales>{{}, out[0], {bytes}}); !done)
    return done;
  on.teams(runs_in(blocks, nf4_dq::nested_blocks), 256,
           nested_scales{absmax, blocks, numbers.values[0], out[1], out[2]});
  return {};
}

template <class Levels, dtype Type, class Device>
status decode_levels(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                     const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  return decode_by_runs(on, rows * cols, with.block, level_values<Levels>{in[0], in[1], Type}, out);
}

template <class Device>
status decode_nf4_dq(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                     const tensor_numbers& numbers, std::span<const std::byte* const> in,
                     float* out) {
  if (!is_finite(numbers.values[0]))
    return {errc::malformed};
  return decode_by_runs(on, rows * cols, with.block,
                        nf4_dq_values{in[0], in[1], in[2], numbers.values[0]}, out);
}

template <class Device>
std::span<const device_method<Device>> level_methods() {
  static constexpr device_method<Device> all[] = {
      {"nf4", encode_nf4, decode_levels<nf4_levels, dtype::f32>},
      {"nf4-f16", encode_nf4_f16, decode_levels<nf4_levels, dtype::f16>},
      {"nf4-dq", encode_nf4_dq, decode_nf4_dq},
      {"nf4-signed", encode_nf4_signed, decode_levels<nf4_signed_levels, dtype::f32>},
  };
  return all;
}

} // namespace viva::kernels
