#pragma once

// safetensors: reading a header with every check of the reference reader, and writing one that is
// byte-identical with what the reference writer makes (formats.md section 1).

#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace viva::formats {

/// One tensor of a file. Offsets are absolute in the file (header included).
struct tensor_entry {
  std::string name;
  std::string dtype; ///< As in the header: "BF16", "I8", …
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0, end = 0;

  std::uint64_t bytes() const noexcept {
    return end - begin;
  }
};

struct safetensors_header {
  std::vector<tensor_entry> tensors; ///< In data order.
  std::map<std::string, std::string> metadata;
  std::uint64_t data_begin = 0;
  std::uint64_t file_bytes = 0;
};

/// Bits of one element of a dtype of the format; 0 when the format does not know it.
unsigned bits_of(std::string_view dtype) noexcept;

/// Reads and checks a header: truncated file, header past the end, holes, overlaps, duplicate keys,
/// sizes that do not match shapes, trailing bytes. Errors name file, tensor and what is wrong.
expected<safetensors_header> read_header(const std::filesystem::path& file);

/// Sorts `tensors` as the reference writer does, sets begin and end of each, and returns the bytes
/// of the header (length word included, padded to 8). Only name, dtype and shape need be filled.
std::string lay_header(std::vector<tensor_entry>& tensors,
                       const std::map<std::string, std::string>& metadata);

} // namespace viva::formats
