// safetensors: the dtypes, the header's text, and the order in which tensors are laid.

#include "formats/safetensors.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <tuple>

namespace viva::formats {

namespace {

struct dtype_row {
  std::string_view name;
  unsigned bits;
};

/// In the order of the reference's enumeration, by which its writer sorts.
constexpr std::array<dtype_row, 22> dtypes = {{
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64},
}};

std::size_t rank_of(std::string_view dtype) noexcept {
  return static_cast<std::size_t>(std::ranges::find(dtypes, dtype, &dtype_row::name)
                                  - dtypes.begin());
}

std::uint64_t bytes_of(const tensor_entry& tensor) noexcept {
  std::uint64_t values = 1;
  for (const auto extent : tensor.shape)
    values *= extent;
  return values * bits_of(tensor.dtype) / 8;
}

/// A JSON string as the reference writes it: short escapes, and characters beyond ASCII as they
/// are.
std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void put_word(std::string& header, std::uint64_t word) {
  for (int byte = 0; byte < 8; ++byte)
    header[static_cast<std::size_t>(byte)] = static_cast<char>(word >> (8 * byte) & 0xFF);
}

void append_metadata(std::string& header, const std::map<std::string, std::string>& metadata) {
  header += "\"__metadata__\":{";
  for (const char* comma = ""; const auto& [key, value] : metadata) {
    header.append(comma).append(json_string(key)).append(":").append(json_string(value));
    comma = ",";
  }
  header += '}';
}

void append_entry(std::string& header, const tensor_entry& tensor) {
  header.append(json_string(tensor.name)).append(":{\"dtype\":\"").append(tensor.dtype);
  header += "\",\"shape\":[";
  for (const char* comma = ""; const auto extent : tensor.shape) {
    header.append(comma).append(std::to_string(extent));
    comma = ",";
  }
  header.append("],\"data_offsets\":[").append(std::to_string(tensor.begin)).append(",");
  header.append(std::to_string(tensor.end)).append("]}");
}

} // namespace

unsigned bits_of(std::string_view dtype) noexcept {
  const auto rank = rank_of(dtype);
  return rank == dtypes.size() ? 0 : dtypes[rank].bits;
}

std::string lay_header(std::vector<tensor_entry>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::ranges::sort(tensors, [](const tensor_entry& a, const tensor_entry& b) {
    const auto rank_a = rank_of(a.dtype), rank_b = rank_of(b.dtype);
    return std::tie(rank_b, a.name) < std::tie(rank_a, b.name);
  });
  std::string header(8, '\0'); // the length word, known at the end
  header += '{';
  if (!metadata.empty())
    append_metadata(header, metadata);
  const char* comma = metadata.empty() ? "" : ",";
  std::uint64_t offset = 0;
  for (auto& tensor : tensors) {
    tensor.begin = offset;
    tensor.end = offset += bytes_of(tensor);
    header += comma;
    comma = ",";
    append_entry(header, tensor);
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  put_word(header, header.size() - 8);
  for (auto& tensor : tensors) {
    tensor.begin += header.size();
    tensor.end += header.size();
  }
  return header;
}

} // namespace viva::formats
