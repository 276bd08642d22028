#pragma once

// GGUF: reading a header with the checks of ggml's reader (formats.md section 2.1).

#include "formats/source_file.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace viva::formats {

struct gguf_tensor {
  std::string name;
  std::uint32_t type = 0;             ///< ggml's number: 0 is F32.
  std::vector<std::uint64_t> extents; ///< ne: the fastest first.
  std::uint64_t begin = 0, end = 0;   ///< Absolute in the file.

  std::uint64_t values() const noexcept;
};

struct gguf_header {
  std::map<std::string, std::string> strings; ///< Keys whose value is a string.
  std::vector<gguf_tensor> tensors;           ///< In file order.
};

/// Reads versions 2 and 3. `path` is for the errors' texts.
expected<gguf_header> read_gguf_header(const source_file&, const std::filesystem::path& path);

} // namespace viva::formats
