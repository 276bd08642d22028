#include "actors/plan.hpp"

#include "actors/device_engine.hpp"
#include "actors/plan_size.hpp"
#include "actors/version.hpp"
#include "formats/shown.hpp"
#include "kernels/awq_search.hpp"

#include <xxhash.h>

#include <algorithm>
#include <numeric>
#include <sys/stat.h>

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

namespace {

// Beyond the mapped source: the actors, their threads and what the C library keeps for them; the
// plan and the report of a tensor; a lane's stack, its error sums (64 KiB a tensor) and its batch.
constexpr std::uint64_t base_bytes = 24 << 20;
constexpr std::uint64_t bytes_per_tensor = 12 << 10;
constexpr std::uint64_t bytes_per_lane = 512 << 10;
// What the book, its checksums and the journal's groups keep of a shard; 340 were measured.
constexpr std::uint64_t bytes_per_shard = 384;
// A lane holds one run of rows: its encoded bytes, and in f32 the run itself and its decoded image.
constexpr std::uint64_t bytes_per_value = 12;
constexpr std::uint64_t run_values_min = 4096;
// A column of a scaling: its scales, their digits in headers and, for the report, once more, what
// is known of its inputs. While it is searched also its shares, the candidates and what they weigh;
// as many scalings as there are lanes, and one, are searched at a time.
constexpr std::uint64_t bytes_per_scale = 48;
constexpr std::uint64_t bytes_per_candidate_scale = 16 + 8 * kernels::awq::candidates;

// A lane that is a process: its stacks and what the C library keeps; its own copy of the plan. A
// spare and the nursery have the first alone.
constexpr std::uint64_t bytes_per_process = 2 << 20;
constexpr std::uint64_t bytes_per_tensor_again = 4 << 10;
constexpr std::uint64_t bytes_per_shard_again = 2 * sizeof(shard); // as a vector grows

std::uint64_t inputs_bytes(const plan& p) {
  std::uint64_t known = 0;
  for (const auto& tensor : p.tensors)
    known += tensor.inputs ? tensor.cols * 2 * sizeof(float) : 0;
  return known;
}

/// What processes hold that threads do not; nothing where lanes are threads.
std::uint64_t processes_bytes(const plan& p, const job_limits& limits, std::uint32_t lanes) {
  if (limits.lanes_are == isolation::thread)
    return 0;
  return (lanes + 2) * bytes_per_process
         + lanes * (p.tensors.size() * bytes_per_tensor_again
                    + p.shards.size() * bytes_per_shard_again + inputs_bytes(p));
}

/// What is known of inputs, and what the search for scales keeps besides the lanes' runs.
std::uint64_t statistics_bytes(const plan& p, std::uint32_t lanes) {
  std::uint64_t columns = 0, most = 0;
  for (const auto& scaling : p.scalings) {
    columns += scaling.cols;
    most = std::max(most, scaling.cols);
  }
  return inputs_bytes(p) + columns * bytes_per_scale
         + p.scalings.size() * sizeof(kernels::awq::loss_sums)
         + most * bytes_per_candidate_scale * (lanes + 1);
}

/// Values of the smallest run of rows of a tensor that can be worked on alone; 0 for a copy.
std::uint64_t grain_values(const work_tensor& t) {
  if (!t.target && !t.decoded && !t.other)
    return 0;
  std::uint64_t grain = 1;
  for (const auto* with : {t.target ? &*t.target : nullptr,
                           t.source.recipe ? &*t.source.recipe : nullptr,
                           t.other && t.other->recipe ? &*t.other->recipe : nullptr})
    if (with != nullptr)
      grain = std::lcm(grain, with->row->shape(*with, t.cols).rows_grain);
  return std::min(grain, t.rows) * t.cols;
}

/// Refuses a shard whose transposed planes a lane cannot hold in `bytes_max`: they are collected
/// whole and turned, twice somewhat more than half a byte a value.
expected<void> fit_collected(const plan& p, std::uint64_t bytes_max) {
  for (const auto& shard : p.shards) {
    const auto& t = p.tensors[shard.tensor];
    if (!t.transposed.empty() && shard.count * t.cols * 5 / 4 > bytes_max)
      return fail(errc::over_budget,
                  formats::shown(t.name) + ": layout " + p.layout
                    + " has a lane hold what it makes of a whole shard; raise --max-memory, or "
                      "take fewer --lanes or smaller --shard-bytes");
  }
  return {};
}

std::string mib(std::uint64_t bytes) {
  return std::to_string((bytes >> 20) + 1) + " MiB";
}

tl::unexpected<error> too_many(std::size_t tensors, std::uint64_t shards, std::uint32_t lanes,
                               std::uint64_t need) {
  return fail(errc::over_budget,
              std::to_string(tensors) + " tensors in " + std::to_string(shards) + " shards on "
                + std::to_string(lanes) + " lanes need " + mib(need)
                + ", more than --max-memory; raise it, use fewer --lanes or larger --shard-bytes");
}

/// Of a matrix, whose rows stay whole; of anything else by its bytes.
std::uint64_t shards_of(const formats::tensor_entry& t, std::uint64_t shard_bytes_max) {
  const auto bytes = t.bytes();
  const bool rows_stay = t.shape.size() == 2 && t.shape[0] > 0;
  const auto row = rows_stay ? bytes / t.shape[0] : 1;
  return bytes / std::max<std::uint64_t>({row, shard_bytes_max, 1});
}

} // namespace

expected<void> fit_plan(const formats::checkpoint& source, const job_limits& limits,
                        std::uint32_t lanes) {
  std::uint64_t shards = 0;
  std::size_t tensors = 0;
  for (const auto& file : source.files) {
    tensors += file.header.tensors.size();
    for (const auto& t : file.header.tensors)
      shards += shards_of(t, limits.shard_bytes_max);
  }
  const auto need = base_bytes + tensors * bytes_per_tensor + shards * sizeof(shard);
  if (need > limits.memory_bytes_max)
    return too_many(tensors, shards, lanes, need);
  return {};
}

expected<void> fit_memory(plan& p, const job_limits& limits, std::uint32_t lanes) {
  const auto fixed = base_bytes + limits.devices.size() * device_lane_bytes
                     + p.tensors.size() * bytes_per_tensor
                     + p.shards.size() * bytes_per_shard + lanes * bytes_per_lane
                     + statistics_bytes(p, lanes) + processes_bytes(p, limits, lanes);
  const auto smallest = fixed + run_values_min * bytes_per_value * lanes;
  if (smallest > limits.memory_bytes_max)
    return too_many(p.tensors.size(), p.shards.size(), lanes, smallest);
  const auto each = (limits.memory_bytes_max - fixed) / lanes / bytes_per_value;
  for (const auto& tensor : p.tensors)
    if (const auto need = grain_values(tensor); need > each)
      return fail(errc::over_budget,
                  formats::shown(tensor.name)
                    + ": the smallest run of rows that can be worked on alone needs "
                    + mib(fixed + need * bytes_per_value * lanes) + " over "
                    + std::to_string(lanes)
                    + " lanes, more than --max-memory; raise it or use fewer --lanes");
  p.run_values_max = std::min(p.run_values_max, each);
  return fit_collected(p, each * bytes_per_value);
}

void note_sources(plan& p, const formats::checkpoint& c) {
  for (const auto& file : c.files) {
    p.sources.push_back(file.path);
    std::string all = std::to_string(file.header.file_bytes) + "\n";
    for (const auto& t : file.header.tensors)
      all += t.name + " " + t.dtype + " " + std::to_string(t.begin) + "\n";
    p.source_file_bytes.push_back(file.header.file_bytes);
    // Inode and ctime: sizes, headers and settable times are equal over many checkpoints.
    struct stat info {};
    ::stat(file.path.c_str(), &info);
    p.fingerprint["source file " + file.name]
      = std::to_string(file.header.file_bytes) + " bytes, header " + digest(all) + ", inode "
        + std::to_string(info.st_ino) + ", changed " + std::to_string(info.st_ctim.tv_sec) + "."
        + std::to_string(info.st_ctim.tv_nsec);
  }
}

} // namespace viva::actors
