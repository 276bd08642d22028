#pragma once

// The three source types by the names that headers and Python give them.

#include "kernels/dtype.hpp"

#include <optional>
#include <string_view>

namespace viva::formats {

/// "F32", "F16", "BF16": as in a safetensors header.
constexpr std::string_view header_name(kernels::dtype type) noexcept {
  return type == kernels::dtype::f32 ? "F32" : type == kernels::dtype::f16 ? "F16" : "BF16";
}

/// "float32", "float16", "bfloat16": as torch calls them.
constexpr std::string_view torch_name(kernels::dtype type) noexcept {
  return type == kernels::dtype::f32   ? "float32"
         : type == kernels::dtype::f16 ? "float16"
                                       : "bfloat16";
}

/// The type of either name; none where it is another type's.
constexpr std::optional<kernels::dtype> source_type(std::string_view name) noexcept {
  for (const auto type : {kernels::dtype::f32, kernels::dtype::f16, kernels::dtype::bf16})
    if (name == header_name(type) || name == torch_name(type))
      return type;
  return std::nullopt;
}

} // namespace viva::formats
