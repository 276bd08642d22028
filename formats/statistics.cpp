#include "formats/statistics.hpp"

#include "formats/gguf_names.hpp"
#include "formats/shown.hpp"
#include "formats/statistics_index.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace viva::formats {

namespace {

constexpr std::string_view measure_again = "; measure the statistics again";

/// Sums to means. A mean of numbers below f32's range may become 0, which is what it is.
void divide(std::vector<float>& sums, float count) noexcept {
  for (auto& sum : sums)
    sum /= count;
}

} // namespace

expected<statistics> statistics::open(const std::filesystem::path& file) {
  auto source = source_file::open(file);
  if (!source)
    return tl::unexpected(source.error());
  constexpr std::uint64_t signs = 9; // a safetensors header's length, and its first byte
  const auto head = source->read(0, std::min(source->bytes(), signs));
  if (!head)
    return tl::unexpected(head.error());
  const auto read = head->starts_with("GGUF")                    ? index_gguf_imatrix
                    : head->size() == signs && (*head)[8] == '{' ? index_safetensors_statistics
                                                                 : index_legacy_imatrix;
  auto found = read(*source, file);
  if (!found)
    return tl::unexpected(found.error());
  if (found->empty())
    return fail(errc::malformed,
                shown(file)
                    + ": holds no statistics; name an imatrix of llama.cpp, or a safetensors file "
                      "with MODULE.sum_sq and MODULE.count for each linear layer");
  return statistics(file, std::move(*source), std::move(*found));
}

statistics::place statistics::find(std::string_view module) const noexcept {
  if (const auto found = x_index.find(module); found != x_index.end())
    return {&found->second, {}};
  const auto name = gguf_module_of(module);
  if (!name)
    return {};
  const auto found = x_index.find(name->name);
  return found == x_index.end() ? place{} : place{&found->second, name->expert};
}

bool statistics::knows(std::string_view module) const noexcept {
  return find(module).entry != nullptr;
}

/// Which of an entry's matrices is the module's.
expected<std::uint64_t> statistics::matrix_of(const place& there, std::string_view module,
                                              std::uint64_t columns) const {
  const auto& entry = *there.entry;
  const auto matrix = there.expert.value_or(0);
  const bool whole = columns != 0 && entry.values % columns == 0;
  const auto matrices = entry.matrices != 0 ? entry.matrices : whole ? entry.values / columns : 0;
  // A file of one row for each expert may stand for one matrix only where an expert was asked for.
  const bool fits = whole && entry.values == matrices * columns && matrix < matrices
                    && (there.expert || matrices == 1);
  if (!fits)
    return fail(errc::malformed, shown(x_path) + ": tensor " + shown(entry.square_name) + ": has "
                                     + std::to_string(entry.values) + " values; the weight of "
                                     + shown(module) + " has " + std::to_string(columns)
                                     + " columns; are the statistics another model's?");
  return matrix;
}

expected<std::vector<float>> statistics::sums(std::uint64_t offset, std::uint64_t columns,
                                              const std::string& name) const {
  const auto bytes = x_file.read(offset, 4 * columns);
  if (!bytes)
    return tl::unexpected(bytes.error());
  std::vector<float> values(columns);
  std::memcpy(values.data(), bytes->data(), bytes->size());
  const auto bad = std::ranges::find_if(values, [](float x) { return !(x >= 0 && x < HUGE_VALF); });
  if (bad != values.end())
    return fail(errc::malformed, shown(x_path) + ": tensor " + shown(name) + ": holds "
                                     + std::to_string(*bad) + " at channel "
                                     + std::to_string(bad - values.begin())
                                     + ", where a sum of squares or magnitudes belongs"
                                     + std::string(measure_again));
  return values;
}

expected<float> statistics::count_of(const statistics_entry& entry, std::uint64_t matrix) const {
  if (!entry.counts)
    return static_cast<float>(entry.count);
  const auto bytes = x_file.read(*entry.counts + 4 * matrix, 4);
  if (!bytes)
    return tl::unexpected(bytes.error());
  float count = 0;
  std::memcpy(&count, bytes->data(), sizeof count);
  if (count != 0 && !(count >= 1 && count < HUGE_VALF))
    return fail(errc::malformed, shown(x_path) + ": tensor " + shown(entry.count_name) + ": holds "
                                     + std::to_string(count) + " at matrix "
                                     + std::to_string(matrix) + std::string(measure_again));
  return count;
}

expected<channel_statistics> statistics::of(std::string_view module, std::uint64_t columns) const {
  const auto there = find(module);
  if (there.entry == nullptr)
    return fail(errc::malformed, shown(x_path) + ": holds no statistics of " + shown(module)
                                     + "; measure them with the model that is quantized, or leave "
                                       "the weight out with --exclude");
  const auto& entry = *there.entry;
  const auto matrix = matrix_of(there, module, columns);
  if (!matrix)
    return tl::unexpected(matrix.error());
  const auto count = count_of(entry, *matrix);
  if (!count)
    return tl::unexpected(count.error());
  auto squares = sums(entry.square_sums + 4 * *matrix * columns, columns, entry.square_name);
  if (!squares)
    return tl::unexpected(squares.error());
  channel_statistics result;
  if (*count == 0 || std::ranges::all_of(*squares, [](float x) { return x == 0; })) {
    result.mean_square.assign(columns, 1.0f);
    result.mean_abs.assign(columns, 1.0f);
    result.measured = false;
    return result;
  }
  result.mean_square = std::move(*squares);
  divide(result.mean_square, *count);
  if (!entry.abs_sums) {
    for (const auto square : result.mean_square)
      result.mean_abs.push_back(std::sqrt(square));
    return result;
  }
  auto abs = sums(*entry.abs_sums, columns, entry.abs_name);
  if (!abs)
    return tl::unexpected(abs.error());
  result.mean_abs = std::move(*abs);
  divide(result.mean_abs, *count);
  return result;
}

} // namespace viva::formats
