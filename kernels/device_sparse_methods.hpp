#pragma once

// On a device: sparse24, sparse24-dense, sparse24-cutlass, and the stacks on both.

#include "kernels/device_cutlass.hpp"
#include "kernels/device_methods.hpp"
#include "kernels/device_sparse24.hpp"

namespace viva::kernels {

/// Channels on the device, null without; false where they do not fit the columns, or no memory.
template <class Device>
status channels_of(Device& on, const recipe& with, std::size_t cols, const float*& channels) {
  channels = nullptr;
  if (cols % sparse24::group != 0 || (!with.channels.empty() && with.channels.size() != cols))
    return {errc::bad_shape};
  if (!with.channels.empty() && (channels = on.upload(with.channels)) == nullptr)
    return {errc::over_budget};
  return {};
}

template <class Device>
status prune_on(Device& on, const recipe& with, const matrix& in, std::byte* kept,
                std::byte* bitmask) {
  const float* channels = nullptr;
  if (const auto good = channels_of(on, with, in.cols, channels); !good)
    return good;
  with_type(in.type, in.data, [&](auto values) {
    on.each(in.rows * sparse24::mask_bytes(in.cols),
            prune24<decltype(values)::type>{values, in.cols, channels, kept, bitmask, on.report()});
  });
  return {};
}

template <class Device>
status encode_sparse24(Device& on, const recipe& with, const matrix& in, const tensor_numbers&,
                       std::span<std::byte* const> out) {
  return prune_on(on, with, in, out[0], out[1]);
}

template <class Device>
status spread_on(Device& on, const std::byte* kept, dtype type, const std::byte* bitmask,
                 std::size_t rows, std::size_t cols, float* out) {
  if (cols % sparse24::group != 0)
    return {errc::bad_shape};
  return decode_by_runs(on, rows * cols, cols, spread24{kept, type, bitmask, cols}, out);
}

template <class Device>
status decode_sparse24(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                       const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  return spread_on(on, in[0], with.source, in[1], rows, cols, out);
}

template <class Device>
status encode_dense(Device& on, const recipe& with, const matrix& in, const tensor_numbers&,
                    std::span<std::byte* const> out) {
  const float* channels = nullptr;
  if (const auto good = channels_of(on, with, in.cols, channels); !good)
    return good;
  with_type(in.type, in.data, [&](auto values) {
    on.each(in.values() / 4,
            zero24<decltype(values)::type>{values, in.cols, channels, out[0], on.report()});
  });
  return {};
}

template <class Device>
status decode_dense(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                    const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  return decode_by_runs(on, rows * cols, 1024, dense24_values{in[0], with.source}, out);
}

/// Metadata of kept values of 1, 2 or 4 bytes.
template <class Device>
void put_metadata(Device& on, std::byte* kept, std::size_t value_bytes, const std::byte* bitmask,
                  std::size_t rows, std::size_t cols, std::byte* metadata) {
  const metadata_place place{cols, value_bytes == 1 ? 4u : 2u};
  const std::size_t slab = sparse24_cutlass::slab_rows;
  const std::size_t units = runs_in(rows, slab) * slab * place.row_bytes();
  if (value_bytes == 1)
    on.each(units, write_metadata24<std::uint8_t>{place, rows, kept, bitmask, metadata});
  else if (value_bytes == 2)
    on.each(units, write_metadata24<std::uint16_t>{place, rows, kept, bitmask, metadata});
  else
    on.each(units, write_metadata24<std::uint32_t>{place, rows, kept, bitmask, metadata});
}

template <class Device>
status encode_cutlass(Device& on, const recipe& with, const matrix& in, const tensor_numbers&,
                      std::span<std::byte* const> out) {
  if (in.cols % 32 != 0)
    return {errc::bad_shape};
  auto* const bitmask = on.template scratch<std::byte>(in.rows * sparse24::mask_bytes(in.cols));
  if (bitmask == nullptr)
    return {errc::over_budget};
  if (const auto done = prune_on(on, with, in, out[0], bitmask); !done)
    return done;
  put_metadata(on, out[0], bytes_of(in.type), bitmask, in.rows, in.cols, out[1]);
  return {};
}

/// The bitmask that metadata means, in scratch; null without memory.
template <class Device>
const std::byte* bitmask_of(Device& on, const std::byte* metadata, std::size_t value_bytes,
                            std::size_t rows, std::size_t cols) {
  auto* const bitmask = on.template scratch<std::byte>(rows * sparse24::mask_bytes(cols));
  if (bitmask != nullptr)
    on.each(rows * (cols / 8),
            read_metadata24{{cols, value_bytes == 1 ? 4u : 2u}, metadata, bitmask});
  return bitmask;
}

template <class Device>
status decode_cutlass(Device& on, const recipe& with, std::size_t rows, std::size_t cols,
                      const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  if (cols % 32 != 0)
    return {errc::bad_shape};
  const auto* const bitmask = bitmask_of(on, in[1], bytes_of(with.source), rows, cols);
  return bitmask == nullptr ? status{errc::over_budget}
                            : spread_on(on, in[0], with.source, bitmask, rows, cols, out);
}

template <class Device>
std::span<const device_method<Device>> sparse_methods();

} // namespace viva::kernels
