#pragma once

// q, k and v of a file as attention takes them: found by name, plain or encoded, checked to fit
// together, and looked through for what is no number.

#include "actors/attention_file.hpp"
#include "formats/checkpoint.hpp"

#include <memory>
#include <string>
#include <vector>

namespace viva::actors {

/// A tensor as (batch, heads, rows, head_size), where it lies in the mapped file.
struct attention_side {
  std::string name;                 ///< As the file has it: k, or k.weight.
  std::string dtype;                ///< Of the header; of an encoded one, of its source.
  std::vector<std::uint64_t> shape; ///< Of the values.
  std::size_t batch = 1, heads = 1, rows = 0, head_size = 0;
  kernels::attention::source_rows lies;
  std::shared_ptr<const kernels::attention::encoded_tensor> encoded; ///< Owns what lies.encoded is.
};

struct attention_sides {
  attention_side q, k, v;
};

/// Errors name file, tensor and remedy: malformed, unsupported, bad_shape, bad_option.
expected<attention_sides> find_sides(const attention_spec&, const formats::checkpoint&,
                                     std::span<const std::byte> bytes);

/// Refuses NaN and infinity, and bytes that a method cannot have written, with the first place.
/// `spec.on_nan` keep: no look at plain tensors. errc::interrupted as `run_attention`.
expected<void> check_numbers(const attention_spec&, const attention_sides&,
                             const std::atomic<bool>* interrupted);

} // namespace viva::actors
