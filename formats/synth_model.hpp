#pragma once

// The shape of a synthetic model: which hidden size, layers and vocabulary make up a number of
// bytes, and the tensors that transformers' LlamaForCausalLM expects of them.

#include "formats/safetensors.hpp"
#include "formats/synth.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace viva::formats {

struct model_shape {
  std::uint64_t hidden = 0, intermediate = 0, layers = 0, vocabulary = 0;
  std::uint64_t heads = 0, kv_heads = 0, head_values = 0;

  std::uint64_t parameters() const noexcept;
};

/// The largest hidden size that leaves a model of usual depth, then as many layers, a wider MLP and
/// more words until `parameters` is met within 1 %.
model_shape shape_for(std::uint64_t parameters);

/// How the values of a tensor are drawn.
struct synth_tensor {
  enum class kind : std::uint8_t { linear, table, norm };
  tensor_entry entry;
  kind what = kind::linear;
  float deviation = 0;    ///< Standard deviation of a usual row.
  std::uint32_t file = 0; ///< Shard.
};

/// All tensors in the order of the model, dealt out to `shards` files of about equal size.
std::vector<synth_tensor> tensors_of(const model_shape&, kernels::dtype, std::uint32_t shards);

/// config.json and generation_config.json.
std::string config_text(const model_shape&, kernels::dtype);
std::string generation_config_text();

} // namespace viva::formats
