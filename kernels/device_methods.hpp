#pragma once

// Every method of the registry on a device: which kernels, in which order. `Device` runs them
// (device_code.hpp), CUDA's or the loops of tests, so all but the launch itself is tested anywhere.
//
// All memory is the device's. What a run of kernels finds out comes with its report; a function
// here refuses only what needs no look at a value.

#include "kernels/device_runs.hpp"

namespace viva::kernels {

template <class Device>
using device_encode_fn = status(Device&, const recipe&, const matrix& in, const tensor_numbers&,
                                std::span<std::byte* const> out);

template <class Device>
using device_decode_fn = status(Device&, const recipe&, std::size_t rows, std::size_t cols,
                                const tensor_numbers&, std::span<const std::byte* const> in,
                                float* out);

template <class Device>
struct device_method {
  std::string_view name; ///< As in the registry.
  device_encode_fn<Device>* encode;
  device_decode_fn<Device>* decode;
};

/// Encodes `count` runs of `run` values by `rule`.
template <class Device, class Rule>
void encode_by_runs(Device& on, const matrix& in, std::size_t count, std::size_t run,
                    const Rule& rule) {
  with_type(in.type, in.data, [&](auto values) {
    const unsigned lanes = lanes_for(run);
    on.teams(
        count, Rule::within_warp && lanes > 32 ? 32 : lanes,
        encode_runs<decltype(values)::type, Rule>{values, {in.values(), run}, rule, on.report()});
  });
}

template <class Device, class Rule>
status decode_by_runs(Device& on, std::size_t values, std::size_t run, const Rule& rule,
                      float* out) {
  if (values != 0)
    on.teams((values + run - 1) / run, lanes_for(run),
             decode_runs<Rule>{{values, run}, rule, out, on.report()});
  return {};
}

/// Blocks, or rows, that hold `values` at `run` each.
constexpr std::size_t runs_in(std::size_t values, std::size_t run) noexcept {
  return (values + run - 1) / run;
}

/// The tables, one for each file of kernels; the last of them puts all together.
template <class Device>
std::span<const device_method<Device>> row_methods();
template <class Device>
std::span<const device_method<Device>> level_methods();
template <class Device>
std::span<const device_method<Device>> block_methods();
template <class Device>
std::span<const device_method<Device>> group_methods();
template <class Device>
std::span<const device_method<Device>> sparse_methods();

/// Null where no kernels are written for a method.
template <class Device>
const device_method<Device>* find_device_method(std::string_view name) {
  for (const auto table : {row_methods<Device>(), level_methods<Device>(), block_methods<Device>(),
                           group_methods<Device>(), sparse_methods<Device>()})
    for (const auto& each : table)
      if (each.name == name)
        return &each;
  return nullptr;
}

} // namespace viva::kernels
