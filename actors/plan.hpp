#pragma once

// Plan: everything about a job that is known before any work. Pure: the same source, options and
// version give the same plan, which is why a resumed job may trust the shard numbers of its
// journal.
//
//   tensors   what is worked on, and where its bytes lie and go
//   shards    units of dispatch: a run of rows of one tensor, or a run of bytes to copy
//   groups    tensors that share one survey; their encode shards wait for it
//   scalings  tensors that share one search for scales; encode and fold shards wait for it
//   files     the output, every offset settled (formats/layout.hpp)

#include "actors/job.hpp"
#include "formats/checkpoint.hpp"
#include "formats/encoded.hpp"
#include "formats/layout.hpp"
#include "formats/scale_note.hpp"
#include "formats/statistics.hpp"
#include "kernels/registry.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace viva::actors {

/// How a tensor lies in a mapped source: plain rows, or the planes of a recipe.
struct stored {
  std::uint32_t file = 0;                ///< Index into plan::sources.
  kernels::dtype type = kernels::dtype::f32;
  std::uint64_t begin = 0;               ///< Of plain rows, absolute.
  std::optional<kernels::recipe> recipe; ///< Set where encoded.
  kernels::tensor_numbers numbers;
  std::vector<std::uint64_t> planes;     ///< Absolute offset of each plane.
  std::vector<std::uint32_t> transposed; ///< As in formats::out_tensor; empty where none is.
  formats::tensor_scales scales;         ///< What it was scaled by; undone when it is read.
};

struct placement {
  std::uint32_t file = 0;   ///< Index into plan::output.files.
  std::uint64_t offset = 0; ///< Absolute in that file.
};

struct work_tensor {
  std::string name;
  std::string dtype;                ///< Of the source, as its header says.
  std::vector<std::uint64_t> shape;
  std::uint64_t rows = 0, cols = 0; ///< A tensor that is only copied has cols = 1, rows = bytes.
  stored source;
  std::optional<stored> other;            ///< compare: the other side.
  std::optional<kernels::recipe> target;  ///< quantize: what it becomes.
  /// What is known of its inputs, where target's channels lie; may be null.
  std::shared_ptr<const formats::channel_statistics> inputs;
  std::optional<kernels::dtype> decoded;  ///< dequantize: what it becomes.
  std::vector<placement> out;             ///< One per plane, or one.
  std::vector<std::uint32_t> transposed;  ///< Of `out`; empty where no plane is.
  std::uint64_t output_bytes = 0;
  std::uint32_t group = no_group;
  std::uint32_t columns_by = no_group; ///< Index into plan::scalings: its columns are multiplied…
  std::uint32_t rows_by = no_group;    ///< …its rows, or values where it is a vector, divided.
  std::string note;
  bool unmatched = false; ///< compare: the other side has no such tensor, or of another shape.

  static constexpr std::uint32_t no_group = ~0u;
};

enum class task : std::uint8_t {
  scan, survey, shares, losses, encode, fold, decode, copy, measure
};

struct shard {
  task what = task::copy;
  std::uint32_t tensor = 0;
  std::uint64_t first = 0, count = 0; ///< Rows.
  std::uint64_t source_bytes = 0;
};

/// Weights that share an input, what feeds it, and what is known of it: one search for scales.
struct scaling {
  std::vector<std::uint32_t> weights; ///< Tensors whose columns are multiplied.
  std::uint32_t divided = 0;          ///< The tensor that is divided.
  float plus = 0;                     ///< As in formats::scale_fold.
  std::uint64_t rows = 0, cols = 0;   ///< Rows of all weights together.
  std::shared_ptr<const formats::channel_statistics> inputs;
};

/// A text of known length that waits for the numbers of its tensor.
struct late_text {
  std::uint32_t tensor = 0;
  placement where;
  formats::out_tensor what;
  formats::tensor_entry source;
};

struct plan {
  std::string job;                               ///< "quantize", …
  std::vector<std::filesystem::path> sources;    ///< Files to map.
  std::vector<std::uint64_t> source_file_bytes;  ///< Their sizes, as their headers were checked.
  std::filesystem::path source_root;             ///< Where `output.copies` are relative to.
  std::vector<work_tensor> tensors;
  std::vector<shard> shards;
  std::vector<std::vector<std::uint32_t>> groups; ///< Tensors of each survey.
  std::vector<scaling> scalings;
  std::vector<late_text> late;
  formats::out_checkpoint output;
  std::string layout;
  std::uint64_t source_bytes = 0, output_bytes = 0;
  /// Values a lane works on at a time where rows are shorter; `fit_memory` may make it smaller.
  std::uint64_t run_values_max = 256 * 1024;
  /// What must be equal for a journal to be resumed, key by key, so a difference can be named.
  std::map<std::string, std::string> fingerprint;

  bool writes() const noexcept {
    return !output.files.empty();
  }
};

/// Rows of a shard: as many as `shard_bytes_max` of source holds, a multiple of the grain, at least
/// one.
std::uint64_t rows_per_shard(std::uint64_t row_bytes, std::uint64_t grain,
                             std::uint64_t shard_bytes_max) noexcept;

/// Sizes the runs so that all lanes together stay within --max-memory. Refuses what cannot: more
/// tensors, or a grain larger, than the budget holds.
expected<void> fit_memory(plan&, const job_limits&, std::uint32_t lanes);

/// Tensors whose name is in `kept` stay as they are (nan_policy::keep).
expected<plan> plan_quantize(const formats::checkpoint&, const quantize_spec&,
                             const std::map<std::string, std::string>& kept);
/// Looks for NaN and infinity in every tensor `plan_quantize` would encode.
expected<plan> plan_scan(const formats::checkpoint&, const quantize_spec&);
expected<plan> plan_dequantize(const formats::checkpoint&, const dequantize_spec&);
expected<plan> plan_compare(const formats::checkpoint& a, const formats::checkpoint& b,
                            const compare_spec&);

std::optional<kernels::dtype> dtype_of(std::string_view safetensors_name) noexcept;

/// Appends the shards of one tensor. Used by the planners and their tests.
void add_shards(plan&, task, std::uint32_t tensor, std::uint64_t row_bytes, std::uint64_t grain,
                std::uint64_t shard_bytes_max);

/// Notes size, time of change and header of each source file in the fingerprint.
void note_sources(plan&, const formats::checkpoint&);

} // namespace viva::actors
