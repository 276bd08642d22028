#pragma once

// On a device: int4 and awq.

#include "kernels/device_awq.hpp"
#include "kernels/device_int4.hpp"
#include "kernels/device_methods.hpp"

namespace viva::kernels {

template <class Device>
status encode_int4_groups(Device& on, const recipe& with, const matrix& in, const tensor_numbers&,
                          std::span<std::byte* const> out) {
  if (in.cols % with.block != 0)
    return {errc::bad_shape};
  const std::size_t row_groups = in.cols / with.block;
  const bool asym = (with.flags & int4::asym) != 0;
  const float* channels = nullptr;
  if ((with.flags & int4::search) != 0 && !with.channels.empty()) {
    channels = on.upload(with.channels);
    if (channels == nullptr)
      return {errc::over_budget};
  }
  if (asym)
    on.clear(out[2], runs_in(in.rows, 8) * row_groups * 4);
  const tile_io io{in.data, in.type, with.block, out[0], with.block / 2, on.report()};
  on.tiles(in.rows * row_groups,
           encode_int4{io, with.flags, row_groups, out[1], asym ? out[2] : nullptr, channels});
  return {};
}

template <class Device>
status decode_int4_groups(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                          const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  if (cols % with.block != 0)
    return {errc::bad_shape};
  const bool asym = (with.flags & int4::asym) != 0;
  return decode_by_runs(
      on, rows * cols, with.block,
      int4_values{with.source, cols / with.block, in[0], in[1], asym ? in[2] : nullptr}, out);
}

template <class Device>
status encode_awq_groups(Device& on, const recipe& with, const matrix& in, const tensor_numbers&,
                         std::span<std::byte* const> out) {
  const float* channels = nullptr;
  if (!with.channels.empty()) {
    channels = on.upload(with.channels);
    if (channels == nullptr)
      return {errc::over_budget};
  }
  const int steps = (with.flags & (awq::no_clip | awq::rtn)) != 0 ? 1 : awq::shrinks;
  with_type(in.type, in.data, [&](auto values) {
    using op = encode_awq<decltype(values)::type>;
    on.teams(runs_in(in.rows, awq::unit_rows) * runs_in(in.cols, with.block), op::lanes,
             op{values, in.rows, in.cols, with.block, steps, channels, out[0], out[1], out[2],
                on.report()});
  });
  return {};
}

template <class Device>
status decode_awq_groups(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                         const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  return decode_by_runs(on, rows * cols, cols, awq_values{cols, with.block, in[0], in[1], in[2]},
                        out);
}

template <class Device>
std::span<const device_method<Device>> group_methods() {
  static constexpr device_method<Device> all[] = {
      {"int4", encode_int4_groups, decode_int4_groups},
      {"awq", encode_awq_groups, decode_awq_groups},
  };
  return all;
}

} // namespace viva::kernels
