#pragma once

// Blocks that one thread encodes, by the references' own functions: GGUF's formats, nvfp4, mxfp4.

#include "kernels/device_runs.hpp"
#include "kernels/ggml_weighed_search.hpp"
#include "kernels/mxfp4.hpp"
#include "kernels/mxfp4_ggml.hpp"
#include "kernels/nvfp4.hpp"
#include "kernels/nvfp4_ggml.hpp"
#include "kernels/q4_0.hpp"
#include "kernels/q4_1.hpp"
#include "kernels/q5_0.hpp"
#include "kernels/q5_1.hpp"
#include "kernels/q8_0.hpp"
#include "kernels/tile.hpp"

namespace viva::kernels {

/// The block functions of a format, by the names of its namespace.
#define VIVA_BLOCK_FORMAT(name, values_of_block)                                                   \
  struct name##_block {                                                                            \
    static constexpr unsigned block_values = values_of_block;                                      \
    static constexpr unsigned block_bytes = name::block_bytes;                                     \
    VIVA_HD static void encode(const float* x, std::byte* block) noexcept {                        \
      name::encode_block(x, block);                                                                \
    }                                                                                              \
    VIVA_HD static bool whole(const std::byte* block) noexcept {                                   \
      return name::is_whole(block);                                                                \
    }                                                                                              \
    VIVA_HD static float value(const std::byte* block, std::size_t j) noexcept {                   \
      return name::decode_value(block, j);                                                         \
    }                                                                                              \
  }
VIVA_BLOCK_FORMAT(q8_0, ggml_block_values);
VIVA_BLOCK_FORMAT(q4_0, ggml_block_values);
VIVA_BLOCK_FORMAT(q4_1, ggml_block_values);
VIVA_BLOCK_FORMAT(q5_0, ggml_block_values);
VIVA_BLOCK_FORMAT(q5_1, ggml_block_values);
VIVA_BLOCK_FORMAT(mxfp4_ggml, mxfp4_ggml::block_values);
VIVA_BLOCK_FORMAT(nvfp4_ggml, nvfp4_ggml::block_values);
#undef VIVA_BLOCK_FORMAT

template <class Format>
struct encode_blocks {
  tile_io io;

  VIVA_HD void operator()(std::size_t, const float* x, std::byte* record) const noexcept {
    Format::encode(x, record);
  }
};

template <class Format>
struct block_values {
  const std::byte* blocks;

  VIVA_HD const std::byte* open(std::size_t unit) const noexcept {
    return blocks + unit * Format::block_bytes;
  }
  VIVA_HD bool values(std::size_t, std::size_t at, std::size_t n, const std::byte* block,
                      float* x) const noexcept {
    for (std::size_t k = 0; k < 4; ++k)
      if (k < n)
        x[k] = Format::value(block, at + k);
    return Format::whole(block);
  }
};

/// Rows' mean squares, each summed in the order of its columns: unit is a row.
struct row_means {
  const std::byte* in;
  dtype type;
  std::size_t cols;
  float* means;
  device_report* report;

  VIVA_HD void operator()(std::size_t row) const noexcept {
    float sum = 0;
    for (std::size_t k = 0; k < cols; ++k) {
      const float value = value_of(in, type, row * cols + k);
      sum += value * value;
    }
    means[row] = sum / static_cast<float>(cols);
  }
};

/// ggml's searches by channels; blocks whose sums overflow are encoded as without.
template <class Format>
struct encode_weighed_blocks {
  tile_io io;
  ggml_weighed::format as;
  std::size_t cols;
  const float* channels;
  const float* means;

  VIVA_HD void operator()(std::size_t unit, const float* x, std::byte* record) const noexcept {
    const std::size_t first = unit * ggml_weighed::values;
    float w[ggml_weighed::values];
    for (std::size_t j = 0; j < ggml_weighed::values; ++j)
      w[j] = ggml_weighed::weight_of(x[j], channels[(first + j) % cols], means[first / cols]);
    const auto found = ggml_weighed::search_block(as, x, w);
    if (is_finite(found.d) && is_finite(found.min))
      ggml_weighed::put_block(as, found, record);
    else
      Format::encode(x, record);
  }
};

struct encode_mxfp4 {
  tile_io io;
  std::byte* scales;

  VIVA_HD void operator()(std::size_t unit, const float* x, std::byte* record) const noexcept {
    scales[unit] = static_cast<std::byte>(mxfp4::encode_block(x, record));
  }
};

/// nvfp4, and with `cheaper` four-or-six; `channels` may be null.
struct encode_nvfp4 {
  tile_io io;
  std::byte* scales;
  float global;
  bool cheaper;
  std::size_t cols;
  const float* channels;

  VIVA_HD void operator()(std::size_t unit, const float* x, std::byte* record) const noexcept {
    const float* w = channels == nullptr ? nullptr : channels + unit * nvfp4::block_values % cols;
    const auto code =
        cheaper ? nvfp4::cheaper_scale(x, w, global)
                : nvfp4::scale_code_of(magnitude_max(x, nvfp4::block_values), e2m1_max, global);
    scales[unit] = static_cast<std::byte>(code);
    nvfp4::put_codes(x, code, global, record);
  }
};

} // namespace viva::kernels
