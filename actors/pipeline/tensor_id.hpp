#pragma once

// Names for what a pipeline keeps, and for values in a file.

#include "actors/pipeline/tensor_view.hpp"

#include <cstdint>
#include <filesystem>

namespace viva {

/// A tensor that lives in a pipeline, until it is dropped or the pipeline goes.
struct tensor_id {
  std::uint64_t number = 0;
  std::uint64_t source = 0; ///< Number of what was put, and this is made from. 0: look it up.
};

/// Row-major values in a file, which must not change while any of them may be needed.
struct file_values {
  std::filesystem::path path;
  std::uint64_t offset = 0; ///< Bytes before the first value.
  std::uint64_t rows = 0, cols = 0;
  dtype type = dtype::f32;
};

} // namespace viva
