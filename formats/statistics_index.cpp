#include "formats/statistics_index.hpp"

#include "formats/gguf_read.hpp"
#include "formats/module_names.hpp"
#include "formats/safetensors.hpp"
#include "formats/shown.hpp"

#include <cstring>
#include <map>

namespace viva::formats {

namespace {

constexpr std::string_view again = "; the file is damaged or truncated: copy or make it again";

/// The module of a tensor called `name` that ends in `ending`; empty where it does not.
std::string_view before(std::string_view name, std::string_view ending) noexcept {
  return name.ends_with(ending) ? name.substr(0, name.size() - ending.size()) : std::string_view{};
}

std::string without_weight(const std::string& name) {
  const auto module = module_of(name);
  return module.empty() ? name : std::string(module);
}

using tensors_by_name = std::map<std::string_view, const tensor_entry*>;

/// Offset of a tensor of our own file, which must be F32 with `values` values where it is there.
expected<std::optional<std::uint64_t>> vector_at(const tensors_by_name& all,
                                                 const std::string& name, std::uint64_t values,
                                                 const std::string& at) {
  const auto found = all.find(name);
  if (found == all.end())
    return std::optional<std::uint64_t>{};
  const auto& entry = *found->second;
  if (entry.dtype != "F32" || entry.shape.size() != 1 || entry.bytes() != 4 * values)
    return fail(errc::malformed, at + "tensor " + shown(name)
                                     + ": must be F32 with one dimension, as long as sum_sq");
  return std::optional<std::uint64_t>{entry.begin};
}

/// The I64 count of a module.
expected<std::int64_t> count_in(const source_file& file, const tensors_by_name& all,
                                const std::string& name, const std::string& at) {
  const auto found = all.find(name);
  if (found == all.end() || found->second->dtype != "I64" || found->second->bytes() != 8)
    return fail(errc::malformed,
                at + "tensor " + shown(name)
                    + ": must be there, as one I64: how many inputs the sums are over");
  const auto bytes = file.read(found->second->begin, 8);
  if (!bytes)
    return tl::unexpected(bytes.error());
  std::int64_t count = 0;
  std::memcpy(&count, bytes->data(), sizeof count);
  if (count < 0)
    return fail(errc::malformed,
                at + "tensor " + shown(name) + ": is negative; measure the statistics again");
  return count;
}

/// Reads on through the records of a legacy file.
class record_reader {
public:
  record_reader(const source_file& file, std::string at) : x_file(file), x_at(std::move(at)) {}

  std::uint64_t position = 0;

  expected<std::string> bytes(std::uint64_t count) {
    if (count > x_file.bytes() - position)
      return fail(errc::malformed, x_at + "ends at byte " + std::to_string(x_file.bytes())
                                       + ", within the record at " + std::to_string(position)
                                       + std::string(again));
    auto read = x_file.read(position, count);
    position += count;
    return read;
  }
  expected<std::uint32_t> number(std::string_view what) {
    const auto begin = position;
    const auto read = bytes(4);
    if (!read)
      return tl::unexpected(read.error());
    std::int32_t value = 0;
    std::memcpy(&value, read->data(), sizeof value);
    if (value < 0)
      return fail(errc::malformed, x_at + "has " + std::to_string(value) + " for "
                                       + std::string(what) + " at byte " + std::to_string(begin)
                                       + "; is it an imatrix?");
    return static_cast<std::uint32_t>(value);
  }

private:
  const source_file& x_file;
  std::string x_at;
};

/// One record: a name, how many calls, how many values, the values.
expected<void> index_record(record_reader& in, const std::string& at, std::uint64_t file_bytes,
                            statistics::index& out) {
  const auto begin = in.position;
  const auto length = in.number("the length of a name");
  if (!length)
    return tl::unexpected(length.error());
  const auto name = in.bytes(*length);
  if (!name)
    return tl::unexpected(name.error());
  const auto calls = in.number("a number of calls");
  if (!calls)
    return tl::unexpected(calls.error());
  const auto values = in.number("a number of values");
  if (!values)
    return tl::unexpected(values.error());
  if (name->empty() || *values == 0 || *values > (file_bytes - in.position) / 4)
    return fail(errc::malformed, at + "the record at byte " + std::to_string(begin) + ", "
                                     + shown(*name) + ", claims " + std::to_string(*values)
                                     + " values" + std::string(again));
  statistics_entry entry;
  entry.square_sums = in.position;
  entry.values = *values;
  entry.count = *calls == 0 ? 1 : *calls; // no calls noted: the values are means already
  entry.square_name = entry.count_name = *name;
  in.position += std::uint64_t{*values} * 4;
  if (!out.emplace(without_weight(*name), std::move(entry)).second)
    return fail(errc::malformed, at + "has two records for " + shown(*name));
  return {};
}

} // namespace

expected<statistics::index> index_safetensors_statistics(const source_file& file,
                                                         const std::filesystem::path& path) {
  const auto at = shown(path) + ": ";
  const auto header = read_header(path);
  if (!header)
    return tl::unexpected(header.error());
  tensors_by_name all;
  for (const auto& tensor : header->tensors)
    all[tensor.name] = &tensor;
  statistics::index out;
  for (const auto& tensor : header->tensors) {
    const std::string module(before(tensor.name, ".sum_sq"));
    if (module.empty())
      continue;
    statistics_entry entry{.square_sums = tensor.begin,
                           .abs_sums = {},
                           .values = 0,
                           .matrices = 1,
                           .counts = {},
                           .count = 0,
                           .square_name = tensor.name,
                           .abs_name = module + ".sum_abs",
                           .count_name = module + ".count"};
    entry.values = tensor.bytes() / 4;
    if (const auto itself = vector_at(all, tensor.name, entry.values, at); !itself)
      return tl::unexpected(itself.error());
    const auto abs = vector_at(all, entry.abs_name, entry.values, at);
    if (!abs)
      return tl::unexpected(abs.error());
    entry.abs_sums = *abs;
    const auto count = count_in(file, all, entry.count_name, at);
    if (!count)
      return tl::unexpected(count.error());
    entry.count = *count;
    out.emplace(module, std::move(entry));
  }
  return out;
}

expected<statistics::index> index_gguf_imatrix(const source_file& file,
                                               const std::filesystem::path& path) {
  const auto at = shown(path) + ": ";
  const auto header = read_gguf_header(file, path);
  if (!header)
    return tl::unexpected(header.error());
  const auto type = header->strings.find("general.type");
  if (type == header->strings.end() || type->second != "imatrix")
    return fail(errc::malformed, at
                                     + "is a GGUF whose general.type is no imatrix; name the file "
                                       "that llama-imatrix wrote");
  std::map<std::string_view, const gguf_tensor*> all;
  for (const auto& tensor : header->tensors)
    all[tensor.name] = &tensor;
  statistics::index out;
  for (const auto& tensor : header->tensors) {
    const std::string name(before(tensor.name, ".in_sum2"));
    if (name.empty())
      continue;
    const auto counts = all.find(name + ".counts");
    const auto matrices = tensor.extents[0] == 0 ? 0 : tensor.values() / tensor.extents[0];
    if (tensor.type != 0 || matrices == 0 || counts == all.end() || counts->second->type != 0
        || counts->second->values() != matrices)
      return fail(errc::malformed, at + "tensor " + shown(tensor.name)
                                       + ": must be F32 and have a .counts beside it with one F32 "
                                         "for each matrix");
    statistics_entry entry{.square_sums = tensor.begin,
                           .abs_sums = {},
                           .values = tensor.values(),
                           .matrices = matrices,
                           .counts = counts->second->begin,
                           .count = 0,
                           .square_name = tensor.name,
                           .abs_name = {},
                           .count_name = counts->second->name};
    out.emplace(without_weight(name), std::move(entry));
  }
  return out;
}

expected<statistics::index> index_legacy_imatrix(const source_file& file,
                                                 const std::filesystem::path& path) {
  const auto at = shown(path) + ": ";
  record_reader in(file, at);
  statistics::index out;
  const auto count = in.number("the number of records");
  if (!count)
    return tl::unexpected(count.error());
  for (std::uint32_t i = 0; i < *count; ++i)
    if (auto read = index_record(in, at, file.bytes(), out); !read)
      return tl::unexpected(read.error());
  return out; // the calibration's name may follow, and is of no use to us
}

} // namespace viva::formats
