#pragma once

// Stacks on a device: 2:4 pruning, then a method on what is kept, and the table of sparse methods.

#include "kernels/device_sparse_methods.hpp"
#include "kernels/sparse24_stack.hpp"

namespace viva::kernels {

template <class Device>
status encode_stack(Device& on, const recipe& with, const matrix& in, const tensor_numbers& numbers,
                    std::span<std::byte* const> out) {
  if (in.cols % with.cols_multiple() != 0)
    return {errc::bad_shape};
  const auto stack = sparse24_stack::parts_of(with, in.cols);
  const auto* inner = find_device_method<Device>(stack.inner.row->name);
  const std::size_t mask_bytes = in.rows * sparse24::mask_bytes(in.cols);
  auto* const kept = on.template scratch<std::byte>(in.values() / 2 * bytes_of(in.type));
  auto* const bitmask =
      stack.cutlass ? on.template scratch<std::byte>(mask_bytes) : out[stack.mask];
  if (kept == nullptr || (stack.cutlass && bitmask == nullptr))
    return {errc::over_budget};
  if (const auto done = prune_on(on, with, in, kept, bitmask); !done)
    return done;
  on.ignore_reports(true); // pruning has seen every value; a place among the kept ones says nothing
  const matrix values{kept, in.type, in.rows, in.cols / 2};
  const auto done = inner->encode(on, stack.inner, values, numbers, out.first(stack.mask));
  on.ignore_reports(false);
  if (!done)
    return done;
  if (stack.cutlass)
    put_metadata(on, out[0], 1, bitmask, in.rows, in.cols, out[stack.mask]);
  return {};
}

template <class Device>
status decode_stack(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                    const tensor_numbers& numbers, std::span<const std::byte* const> in,
                    float* out) {
  if (cols % with.cols_multiple() != 0)
    return {errc::bad_shape};
  const auto stack = sparse24_stack::parts_of(with, cols);
  const auto* inner = find_device_method<Device>(stack.inner.row->name);
  auto* const kept = on.template scratch<float>(rows * cols / 2);
  const std::byte* bitmask =
      stack.cutlass ? bitmask_of(on, in[stack.mask], 1, rows, cols) : in[stack.mask];
  if (kept == nullptr || (stack.cutlass && bitmask == nullptr))
    return {errc::over_budget};
  if (const auto done =
          inner->decode(on, stack.inner, rows, cols / 2, numbers, in.first(stack.mask), kept);
      !done)
    return done;
  return spread_on(on, reinterpret_cast<const std::byte*>(kept), dtype::f32, bitmask, rows, cols,
                   out);
}

template <class Device>
std::span<const device_method<Device>> sparse_methods() {
  static constexpr device_method<Device> all[] = {
      {"sparse24", encode_sparse24, decode_sparse24},
      {"sparse24-dense", encode_dense, decode_dense},
      {"sparse24-cutlass", encode_cutlass, decode_cutlass},
      {"sparse24+int8", encode_stack, decode_stack},
      {"sparse24-cutlass+int8", encode_stack, decode_stack},
      {"sparse24+nf4", encode_stack, decode_stack},
      {"sparse24+nf4-dq", encode_stack, decode_stack},
      {"sparse24+int4", encode_stack, decode_stack},
  };
  return all;
}

} // namespace viva::kernels
