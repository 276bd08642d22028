#pragma once

// What multiplies bf16 in attention: one of the processor's units, or f32's multiply-adds.

#include <cstdint>
#include <span>

namespace viva::kernels {

enum class bf16_unit : std::uint8_t {
  widened, ///< f32's: every value is widened once a tile.
  pairs,   ///< vdpbf16ps of AVX-512: products of two neighbours are added to an f32.
  tiles,   ///< tdpbf16ps of AMX: 16 x 32 by 32 x 16 into 16 x 16 f32.
};

/// Those of this processor, the fastest first; `widened` is always one. Tiles are among them where
/// the operating system grants their registers, for which it is asked at the first call.
std::span<const bf16_unit> bf16_units() noexcept;

bf16_unit bf16_unit_in_use() noexcept;

/// Makes attention use this unit, for a test or a benchmark; false where the processor lacks it.
/// Not while attention runs on other threads.
bool use_bf16_unit(bf16_unit) noexcept;

} // namespace viva::kernels
