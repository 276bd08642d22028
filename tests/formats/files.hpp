#pragma once

// Files for the tests of formats/: a folder that removes itself, and safetensors files made by
// hand.

#include "formats/safetensors.hpp"

#include "tests/support/temporary_folder.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

namespace viva::formats::testing {

using viva::tests::temporary_folder;

inline std::filesystem::path put(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::filesystem::remove(path); // ext4 flushes a file that is truncated and written again
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return path;
}

inline std::string get(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The eight bytes of a header's length.
inline std::string word(std::uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
  return bytes;
}

/// A file whose header is `json` as it stands, and `data_bytes` of data.
inline std::string file_of(const std::string& json, std::size_t data_bytes) {
  return word(json.size()) + json + std::string(data_bytes, '\x11');
}

inline tensor_entry tensor(std::string name, std::string dtype, std::vector<std::uint64_t> shape) {
  tensor_entry entry;
  entry.name = std::move(name);
  entry.dtype = std::move(dtype);
  entry.shape = std::move(shape);
  return entry;
}

/// Bytes of a well-formed file; byte i of the data is a pattern of i.
inline std::string file_of(std::vector<tensor_entry> tensors,
                           const std::map<std::string, std::string>& metadata = {
                               {"format", "pt"}}) {
  auto bytes = lay_header(tensors, metadata);
  const auto end = tensors.empty() ? bytes.size() : tensors.back().end;
  for (std::size_t i = 0; bytes.size() < end; ++i)
    bytes.push_back(static_cast<char>(i * 37 % 61)); // bytes below 0x3d: finite in every dtype
  return bytes;
}

/// A matrix of elements, transposed; a column of it has `column_bytes`.
inline std::vector<std::byte> turned(const std::vector<std::byte>& plane, std::size_t column_bytes,
                                     std::size_t element) {
  std::vector<std::byte> out(plane.size());
  const auto rows = column_bytes / element, cols = plane.size() / column_bytes;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c)
      std::copy_n(&plane[(r * cols + c) * element], element, &out[(c * rows + r) * element]);
  return out;
}

inline bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

} // namespace viva::formats::testing
