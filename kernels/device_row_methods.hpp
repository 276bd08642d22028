#pragma once

// On a device: int8, int8-tensor, int8-group, llm-int8, fp8, fp8-tensor, fp8-block.

#include "kernels/device_fp4.hpp"
#include "kernels/device_llm_int8.hpp"
#include "kernels/device_methods.hpp"
#include "kernels/device_rows.hpp"

namespace viva::kernels {

/// Values of one run where all runs have the tensor's scale.
inline constexpr std::size_t tensor_run = 1024;

template <class Byte, class Device>
status encode_row_bytes(Device& on, const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) {
  encode_by_runs(on, in, in.rows, in.cols, scaled_bytes<Byte>{{}, in.type, out[0], out[1]});
  return {};
}

template <class Byte, class Device>
status decode_row_bytes(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  return decode_by_runs(on, rows * cols, cols,
                        unscaled_bytes<Byte>{with.source, in[0], in[1], false}, out);
}

template <class Byte, class Device>
status encode_tensor_bytes(Device& on, const recipe&, const matrix& in,
                           const tensor_numbers& numbers, std::span<std::byte* const> out) {
  const std::size_t runs = runs_in(in.values(), tensor_run);
  encode_by_runs(on, in, runs == 0 ? 1 : runs, tensor_run,
                 tensor_bytes<Byte>{{{}, in.type, out[0], out[1]}, numbers.values[0]});
  return {};
}

template <class Byte, class Device>
status decode_tensor_bytes(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                           const tensor_numbers&, std::span<const std::byte* const> in,
                           float* out) {
  return decode_by_runs(on, rows * cols, tensor_run,
                        unscaled_bytes<Byte>{with.source, in[0], in[1], true}, out);
}

template <class Device>
status encode_group_bytes(Device& on, const recipe& with, const matrix& in, const tensor_numbers&,
                          std::span<std::byte* const> out) {
  if (in.cols % with.block != 0)
    return {errc::bad_shape};
  encode_by_runs(on, in, in.values() / with.block, with.block,
                 scaled_bytes<offset_byte>{{}, in.type, out[0], out[1]});
  return {};
}

template <class Device>
status decode_group_bytes(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                          const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  if (cols % with.block != 0)
    return {errc::bad_shape};
  return decode_by_runs(on, rows * cols, with.block,
                        unscaled_bytes<offset_byte>{with.source, in[0], in[1], false}, out);
}

template <class Device>
status encode_llm_int8(Device& on, const recipe&, const matrix& in, const tensor_numbers&,
                       std::span<std::byte* const> out) {
  encode_by_runs(on, in, in.rows, in.cols, llm_int8_rule{{}, out[0], out[1]});
  return {};
}

template <class Device>
status decode_llm_int8(Device& on, const recipe&, std::size_t rows, std::size_t cols,
                       const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  return decode_by_runs(on, rows * cols, cols, llm_int8_values{in[0], in[1]}, out);
}

template <class Device>
status encode_fp8_block(Device& on, const recipe&, const matrix& in, const tensor_numbers&,
                        std::span<std::byte* const> out) {
  const fp8_grid grid{in.rows, in.cols};
  with_type(in.type, in.data, [&](auto values) {
    on.teams(runs_in(in.rows, fp8::block_side) * grid.across(), 256,
             encode_fp8_blocks<decltype(values)::type>{values, grid, out[0], out[1], on.report()});
  });
  return {};
}

template <class Device>
status decode_fp8_block(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                        const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  return decode_by_runs(on, rows * cols, cols,
                        fp8_block_values{with.source, {rows, cols}, in[0], in[1]}, out);
}

template <class Device>
std::span<const device_method<Device>> row_methods() {
  static constexpr device_method<Device> all[] = {
      {"int8", encode_row_bytes<int8_byte>, decode_row_bytes<int8_byte>},
      {"int8-tensor", encode_tensor_bytes<int8_byte>, decode_tensor_bytes<int8_byte>},
      {"int8-group", encode_group_bytes, decode_group_bytes},
      {"llm-int8", encode_llm_int8, decode_llm_int8},
      {"fp8", encode_row_bytes<e4m3_byte>, decode_row_bytes<e4m3_byte>},
      {"fp8-tensor", encode_tensor_bytes<e4m3_byte>, decode_tensor_bytes<e4m3_byte>},
      {"fp8-block", encode_fp8_block, decode_fp8_block},
  };
  return all;
}

} // namespace viva::kernels
