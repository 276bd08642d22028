#include "actors/plan.hpp"

#include "actors/version.hpp"
#include "formats/shown.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>

namespace viva::actors {

std::string digest(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  auto hash = XXH3_64bits(bytes.data(), bytes.size());
  std::string text(16, '0');
  for (auto i = text.rbegin(); i != text.rend(); ++i, hash >>= 4)
    *i = digits[hash & 15];
  return text;
}

std::optional<kernels::dtype> dtype_of(std::string_view name) noexcept {
  if (name == "F32")
    return kernels::dtype::f32;
  if (name == "F16")
    return kernels::dtype::f16;
  if (name == "BF16")
    return kernels::dtype::bf16;
  return std::nullopt;
}

std::uint64_t rows_per_shard(std::uint64_t row_bytes, std::uint64_t grain,
                             std::uint64_t shard_bytes_max) noexcept {
  const auto rows = row_bytes == 0 ? shard_bytes_max : shard_bytes_max / row_bytes;
  return std::max(grain, rows / grain * grain);
}

void add_shards(plan& p, task what, std::uint32_t tensor, std::uint64_t row_bytes,
                std::uint64_t grain, std::uint64_t shard_bytes_max) {
  const auto rows = p.tensors[tensor].rows;
  const auto step = rows_per_shard(row_bytes, grain, shard_bytes_max);
  for (std::uint64_t first = 0; first < rows; first += step) {
    const auto count = std::min(step, rows - first);
    p.shards.push_back({what, tensor, first, count, count * row_bytes});
    p.source_bytes += count * row_bytes;
  }
}

expected<void> check_memory(const plan& p, const job_limits& limits, std::uint32_t lanes) {
  // A lane holds one run of rows: its encoded bytes, and in f32 the run itself and its decoded
  // image, where the kernels do not cut it smaller. 12 bytes a value covers all three.
  for (const auto& tensor : p.tensors) {
    if (!tensor.target && !tensor.decoded && !tensor.other)
      continue;
    const auto& recipe = tensor.target ? *tensor.target
                         : tensor.source.recipe ? *tensor.source.recipe : kernels::recipe{};
    const auto grain = recipe.row ? recipe.row->shape(recipe, tensor.cols).rows_grain : 1;
    const auto need = std::min(grain, tensor.rows) * tensor.cols * 12 * lanes;
    if (need > limits.memory_bytes_max)
      return fail(errc::over_budget,
                  formats::shown(tensor.name) + ": the smallest run of rows that can be worked on alone needs "
                    + std::to_string(need >> 20) + " MiB over " + std::to_string(lanes)
                    + " lanes, more than --max-memory; raise it or use fewer --lanes");
  }
  return {};
}

void note_sources(plan& p, const formats::checkpoint& c) {
  for (const auto& file : c.files) {
    p.sources.push_back(file.path);
    std::string all = std::to_string(file.header.file_bytes) + "\n";
    for (const auto& t : file.header.tensors)
      all += t.name + " " + t.dtype + " " + std::to_string(t.begin) + "\n";
    std::error_code ignored;
    const auto changed = std::filesystem::last_write_time(file.path, ignored);
    p.fingerprint["source file " + file.name]
      = std::to_string(file.header.file_bytes) + " bytes, header " + digest(all) + ", changed "
        + std::to_string(changed.time_since_epoch().count());
  }
}

} // namespace viva::actors
