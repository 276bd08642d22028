#pragma once

// The bytes of statistics files, made by hand: llama.cpp's older records, and its GGUF.

#include "tests/formats/files.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace viva::formats::testing {

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

inline std::string floats(const std::vector<float>& values) {
  std::string bytes;
  for (const auto value : values)
    bytes += raw(value);
  return bytes;
}

inline std::string legacy_record(const std::string& name, std::int32_t calls,
                                 const std::vector<float>& values) {
  return raw(static_cast<std::int32_t>(name.size())) + name + raw(calls)
         + raw(static_cast<std::int32_t>(values.size())) + floats(values);
}

inline std::string gguf_string(const std::string& text) {
  return raw(std::uint64_t{text.size()}) + text;
}

struct gguf_vector {
  std::string name;
  std::vector<std::uint64_t> extents;
  std::vector<float> values;
};

inline std::string gguf_file(const std::vector<gguf_vector>& tensors,
                             const std::string& type = "imatrix") {
  std::string meta =
      "GGUF" + raw(std::uint32_t{3}) + raw(std::uint64_t{tensors.size()}) + raw(std::uint64_t{4});
  meta += gguf_string("general.type") + raw(std::uint32_t{8}) + gguf_string(type);
  meta += gguf_string("imatrix.datasets") + raw(std::uint32_t{9}) + raw(std::uint32_t{8})
          + raw(std::uint64_t{2}) + gguf_string("wiki") + gguf_string("code");
  meta += gguf_string("imatrix.chunk_count") + raw(std::uint32_t{4}) + raw(std::uint32_t{7});
  meta += gguf_string("sizes") + raw(std::uint32_t{9}) + raw(std::uint32_t{6})
          + raw(std::uint64_t{2}) + floats({1, 2});
  std::string data;
  for (const auto& each : tensors) {
    meta += gguf_string(each.name) + raw(static_cast<std::uint32_t>(each.extents.size()));
    for (const auto extent : each.extents)
      meta += raw(extent);
    meta += raw(std::uint32_t{0}) + raw(std::uint64_t{data.size()});
    data += floats(each.values);
    data.resize((data.size() + 31) / 32 * 32);
  }
  meta.resize((meta.size() + 31) / 32 * 32);
  return meta + data;
}

} // namespace viva::formats::testing
