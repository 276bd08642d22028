#pragma once

// The three input types of every method. Values become f32 at the block's edge, exactly.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace viva::kernels {

enum class dtype : std::uint8_t { f32, f16, bf16 };

constexpr std::size_t bytes_of(dtype type) noexcept {
  return type == dtype::f32 ? 4 : 2;
}

constexpr std::string_view name_of(dtype type) noexcept {
  return type == dtype::f32 ? "f32" : type == dtype::f16 ? "f16" : "bf16";
}

/// Consecutive rows of a row-major tensor, as they lie in the source. Not owned; may be
/// unaligned, because safetensors promises no alignment.
struct matrix {
  const std::byte* data = nullptr;
  dtype type = dtype::f32;
  std::size_t rows = 0;
  std::size_t cols = 0;

  constexpr std::size_t values() const noexcept {
    return rows * cols;
  }
  /// The rows [first, first + count).
  constexpr matrix slice(std::size_t first, std::size_t count) const noexcept {
    return {data + first * cols * bytes_of(type), type, count, cols};
  }
};

} // namespace viva::kernels
