#pragma once

// On a device: GGUF's formats, nvfp4, mxfp4.

#include "kernels/device_blocks.hpp"
#include "kernels/device_fp4.hpp"
#include "kernels/device_methods.hpp"

namespace viva::kernels {

/// What tiles of a method's first plane read and write.
template <class Device>
tile_io tile_of(Device& on, const matrix& in, unsigned values, unsigned bytes, std::byte* records) {
  return {in.data, in.type, values, records, bytes, on.report()};
}

template <class Format, class Device>
status encode_format(Device& on, const recipe&, const matrix& in, const tensor_numbers&,
                     std::span<std::byte* const> out) {
  if (in.cols % Format::block_values != 0)
    return {errc::bad_shape};
  on.tiles(
      in.values() / Format::block_values,
      encode_blocks<Format>{tile_of(on, in, Format::block_values, Format::block_bytes, out[0])});
  return {};
}

template <class Format, class Device>
status encode_weighed_format(Device& on, const recipe& with, const matrix& in,
                             const tensor_numbers& numbers, std::span<std::byte* const> out,
                             const ggml_weighed::format& as) {
  if (with.channels.empty() || in.cols % Format::block_values != 0)
    return encode_format<Format>(on, with, in, numbers, out);
  auto* const means = on.template scratch<float>(in.rows);
  const auto* const channels = on.upload(with.channels);
  if (means == nullptr || channels == nullptr)
    return {errc::over_budget};
  on.each(in.rows, row_means{in.data, in.type, in.cols, means, on.report()});
  on.tiles(in.values() / Format::block_values,
           encode_weighed_blocks<Format>{
               tile_of(on, in, Format::block_values, Format::block_bytes, out[0]), as, in.cols,
               channels, means});
  return {};
}

#define VIVA_WEIGHED(name)                                                                         \
  template <class Device>                                                                          \
  status encode_##name(Device& on, const recipe& with, const matrix& in,                           \
                       const tensor_numbers& numbers, std::span<std::byte* const> out) {           \
    return encode_weighed_format<name##_block>(on, with, in, numbers, out, ggml_weighed::name);    \
  }
VIVA_WEIGHED(q4_0)
VIVA_WEIGHED(q4_1)
VIVA_WEIGHED(q5_0)
VIVA_WEIGHED(q5_1)
#undef VIVA_WEIGHED

template <class Format, class Device>
status decode_format(Device& on, const recipe&, std::size_t rows, std::size_t cols,
                     const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  if (cols % Format::block_values != 0)
    return {errc::bad_shape};
  return decode_by_runs(on, rows * cols, Format::block_values, block_values<Format>{in[0]}, out);
}

template <class Device>
status encode_mxfp4_blocks(Device& on, const recipe&, const matrix& in, const tensor_numbers&,
                           std::span<std::byte* const> out) {
  if (in.cols % mxfp4::block_values != 0)
    return {errc::bad_shape};
  on.tiles(in.values() / mxfp4::block_values,
           encode_mxfp4{tile_of(on, in, mxfp4::block_values, 16, out[0]), out[1]});
  return {};
}

template <class Device>
status decode_mxfp4(Device& on, const recipe&, std::size_t rows, std::size_t cols,
                    const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  if (cols % mxfp4::block_values != 0)
    return {errc::bad_shape};
  return decode_by_runs(on, rows * cols, mxfp4::block_values, mxfp4_values{in[0], in[1]}, out);
}

/// The scale of the tensor, from a number of the host's. Unit: one.
struct put_number {
  float number;
  std::byte* to;

  VIVA_HD void operator()(std::size_t) const noexcept {
    store_as(number, to);
  }
};

template <bool Cheaper, class Device>
status encode_nvfp4_blocks(Device& on, const recipe& with, const matrix& in,
                           const tensor_numbers& numbers, std::span<std::byte* const> out) {
  if (in.cols % nvfp4::block_values != 0)
    return {errc::bad_shape};
  const float global = numbers.values[0];
  const float* channels = nullptr;
  if (Cheaper && !with.channels.empty()) {
    channels = on.upload(with.channels);
    if (channels == nullptr)
      return {errc::over_budget};
  }
  on.each(1, put_number{global, out[2]});
  on.tiles(in.values() / nvfp4::block_values,
           encode_nvfp4{tile_of(on, in, nvfp4::block_values, 8, out[0]), out[1], global, Cheaper,
                        in.cols, channels});
  return {};
}

template <class Device>
status decode_nvfp4(Device& on, const recipe&, std::size_t rows, std::size_t cols,
                    const tensor_numbers&, std::span<const std::byte* const> in, float* out) {
  if (cols % nvfp4::block_values != 0)
    return {errc::bad_shape};
  return decode_by_runs(on, rows * cols, nvfp4::block_values, nvfp4_values{in[0], in[1], in[2]},
                        out);
}

template <class Device>
std::span<const device_method<Device>> block_methods() {
  static constexpr device_method<Device> all[] = {
      {"q8_0", encode_format<q8_0_block>, decode_format<q8_0_block>},
      {"q4_0", encode_q4_0, decode_format<q4_0_block>},
      {"q4_1", encode_q4_1, decode_format<q4_1_block>},
      {"q5_0", encode_q5_0, decode_format<q5_0_block>},
      {"q5_1", encode_q5_1, decode_format<q5_1_block>},
      {"mxfp4-ggml", encode_format<mxfp4_ggml_block>, decode_format<mxfp4_ggml_block>},
      {"nvfp4-ggml", encode_format<nvfp4_ggml_block>, decode_format<nvfp4_ggml_block>},
      {"mxfp4", encode_mxfp4_blocks, decode_mxfp4},
      {"nvfp4", encode_nvfp4_blocks<false>, decode_nvfp4},
      {"nvfp4-four-or-six", encode_nvfp4_blocks<true>, decode_nvfp4},
  };
  return all;
}

} // namespace viva::kernels
