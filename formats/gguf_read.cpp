#include "formats/gguf_read.hpp"

#include "formats/shown.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <unordered_set>

namespace viva::formats {

namespace {

constexpr std::uint64_t string_bytes_max = 1ull << 30;
constexpr std::uint64_t array_count_max = 1ull << 30;
constexpr std::uint64_t chunk_bytes = 64 << 10;
enum value_type : std::uint32_t { u32_type = 4, string_type = 8, array_type = 9, types_end = 13 };

/// Bytes of a value of fixed size; 0 for strings and arrays.
constexpr std::uint64_t value_bytes[types_end] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

/// Values and bytes of a block of each ggml type; 0 where the number is not in use.
struct block_size {
  std::uint16_t values, bytes;
};
constexpr block_size block_sizes[] = {
    {1, 4},    {1, 2},    {32, 18},  {32, 20},   {},         {},         {32, 22},   {32, 24},
    {32, 34},  {32, 36},  {256, 84}, {256, 110}, {256, 144}, {256, 176}, {256, 210}, {256, 292},
    {256, 66}, {256, 74}, {256, 98}, {256, 50},  {32, 18},   {256, 110}, {256, 82},  {256, 136},
    {1, 1},    {1, 2},    {1, 4},    {1, 8},     {1, 8},     {256, 56},  {1, 2},     {},
    {},        {},        {256, 54}, {256, 66},  {},         {},         {},         {32, 17},
    {64, 36},  {128, 18}, {64, 18}};

/// Reads forward through a file in chunks. After the first fault every read answers zero.
class cursor {
public:
  explicit cursor(const source_file& file) : x_file(file) {}

  std::string fault; ///< Empty while all is well.

  std::uint64_t at() const noexcept {
    return x_at;
  }
  std::uint64_t left() const noexcept {
    return x_file.bytes() - x_at;
  }

  template <class T>
  T number() {
    T value{};
    if (!reaches(sizeof value))
      return value;
    const auto bytes = take(sizeof value);
    if (bytes.size() == sizeof value)
      std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::string string() {
    const auto length = number<std::uint64_t>();
    if (length > string_bytes_max || !reaches(length)) {
      refuse("holds a string of " + std::to_string(length) + " bytes");
      return {};
    }
    return take(length);
  }
  void skip(std::uint64_t bytes) {
    if (reaches(bytes))
      x_at += bytes;
  }
  void refuse(std::string why) {
    if (fault.empty())
      fault = std::move(why);
  }

private:
  bool reaches(std::uint64_t bytes) {
    if (fault.empty() && bytes > left())
      fault = "ends within its header, at byte " + std::to_string(x_file.bytes());
    return fault.empty();
  }
  std::string take(std::uint64_t bytes) {
    if (x_at < x_chunk_at || x_at + bytes > x_chunk_at + x_chunk.size()) {
      const auto want = std::min(std::max(bytes, chunk_bytes), left());
      auto read = x_file.read(x_at, want);
      if (!read) {
        refuse("cannot be read");
        return {};
      }
      x_chunk = std::move(*read);
      x_chunk_at = x_at;
    }
    auto result = x_chunk.substr(x_at - x_chunk_at, bytes);
    x_at += bytes;
    return result;
  }

  const source_file& x_file;
  std::uint64_t x_at = 0, x_chunk_at = 0;
  std::string x_chunk;
};

void skip_array(cursor& in, const std::string& key) {
  const auto type = in.number<std::uint32_t>();
  const auto count = in.number<std::uint64_t>();
  if (type >= types_end || type == array_type || count > array_count_max)
    return in.refuse("key " + shown(key) + " holds an array of type " + std::to_string(type)
                     + " and length " + std::to_string(count));
  if (type != string_type)
    return in.skip(count * value_bytes[type]);
  for (std::uint64_t i = 0; i < count && in.fault.empty(); ++i) {
    const auto length = in.number<std::uint64_t>();
    in.skip(length);
  }
}

/// Reads keys and values; returns the alignment.
std::uint64_t read_keys(cursor& in, std::uint64_t count, gguf_header& out) {
  std::uint64_t alignment = 32;
  std::unordered_set<std::string> seen;
  for (std::uint64_t i = 0; i < count && in.fault.empty(); ++i) {
    const auto key = in.string();
    if (in.fault.empty() && (key.empty() || !seen.insert(key).second))
      in.refuse("has the key " + shown(key) + (key.empty() ? "" : " twice"));
    const auto type = in.number<std::uint32_t>();
    if (type >= types_end)
      in.refuse("key " + shown(key) + " has the unknown type " + std::to_string(type));
    else if (type == string_type)
      out.strings[key] = in.string();
    else if (type == array_type)
      skip_array(in, key);
    else if (key == "general.alignment" && type == u32_type)
      alignment = in.number<std::uint32_t>();
    else
      in.skip(value_bytes[type]);
  }
  if (!std::has_single_bit(alignment))
    in.refuse("has the alignment " + std::to_string(alignment) + ", which is no power of two");
  return alignment;
}

/// Reads one tensor's entry; `begin` is relative to the data.
gguf_tensor read_tensor(cursor& in) {
  gguf_tensor tensor;
  tensor.name = in.string();
  const auto at = "tensor " + shown(tensor.name) + ": has ";
  const auto dimensions = in.number<std::uint32_t>();
  if (tensor.name.size() >= 64 || dimensions == 0 || dimensions > 4) {
    in.refuse(at + std::to_string(tensor.name.size()) + " bytes of name and "
              + std::to_string(dimensions) + " dimensions");
    return tensor;
  }
  std::uint64_t values = 1;
  for (std::uint32_t d = 0; d < dimensions; ++d) {
    tensor.extents.push_back(in.number<std::uint64_t>());
    if (__builtin_mul_overflow(values, tensor.extents.back(), &values) || values >> 48 != 0)
      in.refuse(at + "more than 2^48 values");
  }
  tensor.type = in.number<std::uint32_t>();
  tensor.begin = in.number<std::uint64_t>();
  if (!in.fault.empty())
    return tensor;
  const auto block = tensor.type < std::size(block_sizes) ? block_sizes[tensor.type] : block_size{};
  if (block.values == 0 || tensor.extents[0] % block.values != 0)
    in.refuse(at + "type " + std::to_string(tensor.type) + " and rows of "
              + std::to_string(tensor.extents[0]) + " values");
  else
    tensor.end = values / block.values * block.bytes; // its size, until the data's place is known
  return tensor;
}

void read_tensors(cursor& in, std::uint64_t count, std::uint64_t alignment, std::uint64_t bytes,
                  gguf_header& out) {
  std::unordered_set<std::string> seen;
  for (std::uint64_t i = 0; i < count && in.fault.empty(); ++i) {
    out.tensors.push_back(read_tensor(in));
    if (in.fault.empty() && !seen.insert(out.tensors.back().name).second)
      in.refuse("has two tensors called " + shown(out.tensors.back().name));
  }
  const auto padded = [&](std::uint64_t at) { return (at + alignment - 1) & ~(alignment - 1); };
  const auto data = padded(in.at());
  std::uint64_t end = 0;
  for (auto& tensor : out.tensors) {
    if (!in.fault.empty())
      return;
    const auto size = tensor.end;
    if (tensor.begin != end)
      return in.refuse("tensor " + shown(tensor.name) + ": has the offset "
                       + std::to_string(tensor.begin) + " where " + std::to_string(end)
                       + " is next");
    tensor.begin = data + end;
    tensor.end = tensor.begin + size;
    end += padded(size);
    if (tensor.end > bytes)
      in.refuse("tensor " + shown(tensor.name) + ": ends at byte " + std::to_string(tensor.end)
                + ", the file at " + std::to_string(bytes));
  }
}

} // namespace

std::uint64_t gguf_tensor::values() const noexcept {
  std::uint64_t all = 1;
  for (const auto extent : extents)
    all *= extent;
  return all;
}

expected<gguf_header> read_gguf_header(const source_file& file, const std::filesystem::path& path) {
  gguf_header header;
  cursor in(file);
  if (in.number<std::uint32_t>() != 0x46554747) // "GGUF"
    in.refuse("does not begin with GGUF");
  const auto version = in.number<std::uint32_t>();
  if (in.fault.empty() && (version & 0xFFFF) == 0)
    in.refuse("was written big-endian");
  if (version != 2 && version != 3)
    in.refuse("has GGUF version " + std::to_string(version) + "; 2 and 3 can be read");
  const auto tensors = in.number<std::uint64_t>();
  const auto keys = in.number<std::uint64_t>();
  if (tensors > in.left() / 24 || keys > in.left() / 12) // the least each of them takes
    in.refuse("claims " + std::to_string(tensors) + " tensors and " + std::to_string(keys)
              + " keys, more than it has room for");
  const auto alignment = read_keys(in, keys, header);
  read_tensors(in, tensors, alignment, file.bytes(), header);
  if (!in.fault.empty())
    return fail(errc::malformed, shown(path) + ": " + in.fault
                                     + "; the file is damaged or truncated: copy or make it again");
  return header;
}

} // namespace viva::formats
