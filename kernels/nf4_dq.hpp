#pragma once

// NF4 with double quantization: the scales are 8-bit codes themselves, 4.127 bits per value.
//
// Source    QLoRA (arXiv:2305.14314), section 3, "Double Quantization"; bytes as bitsandbytes
//           writes them.
// Planes    codes and blocks as nf4 · absmax u8 (blocks), indices into `dynamic_map` ·
//           nested_absmax f32, one for each 256 blocks
// Numbers   [0] offset: the mean of all block maxima of the tensor, exact sum / count, as f32
// Encode    codes are nf4's, by the exact absmax. a = absmax - offset; nested = max|a| over 256
//           blocks; index = #{ m : m < clamp(a * (1 / max(nested, 1e-38)), -1, 1) }, m the 255 f32
//           midpoints of the map: on a midpoint the lower index.
// Decode    absmax' = dynamic_map[index] * nested + offset; x' = level(code) * absmax'
// Bound     |absmax - absmax'| <= 0.0071 nested (half the map's widest gap), so
//           |x - x'| <= 0.1520 absmax + 0.0071 nested
// Exactness reference and SIMD agree bit for bit on every target. Runs of rows start at a whole
//           nested block, 256 blocks.

#include "kernels/registry.hpp"

#include <array>

namespace viva::kernels::nf4_dq {

inline constexpr std::size_t nested_blocks = 256; ///< Blocks that share one nested scale.

/// The signed dynamic 8-bit map: 256 levels, ascending, 0 at index 127.
const std::array<float, 256>& dynamic_map() noexcept;

/// What the scale of block b is made from: map[codes[b]] * nested[b / nested_blocks] + offset.
struct scale_planes {
  const float* map;
  const std::byte* codes;
  const std::byte* nested; ///< f32.
  float offset;
};

geometry shape(const recipe&, std::uint64_t cols);
encode_fn encode_reference, encode_simd;
decode_fn decode_reference, decode_simd;
survey_fn survey_run;
tensor_numbers survey_finish(const recipe&, const survey&);

} // namespace viva::kernels::nf4_dq
