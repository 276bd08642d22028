#include "formats/synth_model.hpp"

#include "formats/dtype_names.hpp"
#include "formats/json.hpp"

#include <algorithm>
#include <cmath>

namespace viva::formats {

namespace {

constexpr std::uint64_t words_min = 256, words_max = 32000;
constexpr std::uint64_t intermediate_step = 128, vocabulary_step = 8;

std::uint64_t layer_parameters(const model_shape& m) noexcept {
  const auto kv = m.kv_heads * m.head_values;
  return 2 * m.hidden * m.hidden + 2 * m.hidden * kv + 3 * m.hidden * m.intermediate + 2 * m.hidden;
}

/// A model of this width, without layers yet: llama's proportions, and at most a tenth of the
/// parameters in each of the two tables.
model_shape width(std::uint64_t hidden, std::uint64_t parameters) {
  model_shape m;
  m.hidden = hidden;
  m.head_values = hidden >= 2048 ? 128 : hidden >= 512 ? 64 : 32;
  m.heads = hidden / m.head_values;
  m.kv_heads = m.heads >= 16 ? m.heads / 4 : m.heads;
  m.intermediate = hidden * 8 / 3 / intermediate_step * intermediate_step;
  m.vocabulary = std::clamp(parameters / (10 * hidden), words_min, words_max) / vocabulary_step
                 * vocabulary_step;
  return m;
}

} // namespace

std::uint64_t model_shape::parameters() const noexcept {
  return layers * layer_parameters(*this) + 2 * vocabulary * hidden + hidden;
}

model_shape shape_for(std::uint64_t parameters) {
  model_shape m;
  for (std::uint64_t hidden = 16384; hidden >= 64; hidden /= 2) {
    m = width(hidden, parameters);
    const auto rest = parameters - std::min(parameters, m.parameters());
    m.layers = std::max<std::uint64_t>(1, rest / layer_parameters(m));
    if (m.layers >= std::max<std::uint64_t>(2, hidden / 256))
      break;
  }
  const auto missing = [&] { return parameters - std::min(parameters, m.parameters()); };
  m.intermediate += missing() / (m.layers * 3 * m.hidden) / intermediate_step * intermediate_step;
  m.vocabulary += missing() / (2 * m.hidden) / vocabulary_step * vocabulary_step;
  return m;
}

std::vector<synth_tensor> tensors_of(const model_shape& m, kernels::dtype type,
                                     std::uint32_t shards) {
  using kind = synth_tensor::kind;
  std::vector<synth_tensor> all;
  const auto add = [&](const std::string& name, std::vector<std::uint64_t> shape, kind what,
                       float deviation) {
    synth_tensor tensor;
    tensor.entry.name = name + ".weight";
    tensor.entry.dtype = header_name(type);
    tensor.entry.shape = std::move(shape);
    tensor.what = what;
    tensor.deviation = deviation;
    all.push_back(std::move(tensor));
  };
  const auto kv = m.kv_heads * m.head_values;
  // Projections onto the residual stream start smaller the deeper the model (GPT-2's rule).
  const float deep = 0.02f / std::sqrt(2.0f * static_cast<float>(m.layers));
  add("model.embed_tokens", {m.vocabulary, m.hidden}, kind::table, 0.02f);
  for (std::uint64_t l = 0; l < m.layers; ++l) {
    const auto layer = "model.layers." + std::to_string(l) + ".";
    add(layer + "input_layernorm", {m.hidden}, kind::norm, 0.1f);
    add(layer + "self_attn.q_proj", {m.hidden, m.hidden}, kind::linear, 0.02f);
    add(layer + "self_attn.k_proj", {kv, m.hidden}, kind::linear, 0.02f);
    add(layer + "self_attn.v_proj", {kv, m.hidden}, kind::linear, 0.02f);
    add(layer + "self_attn.o_proj", {m.hidden, m.hidden}, kind::linear, deep);
    add(layer + "post_attention_layernorm", {m.hidden}, kind::norm, 0.1f);
    add(layer + "mlp.gate_proj", {m.intermediate, m.hidden}, kind::linear, 0.02f);
    add(layer + "mlp.up_proj", {m.intermediate, m.hidden}, kind::linear, 0.02f);
    add(layer + "mlp.down_proj", {m.hidden, m.intermediate}, kind::linear, deep);
  }
  add("model.norm", {m.hidden}, kind::norm, 0.1f);
  add("lm_head", {m.vocabulary, m.hidden}, kind::linear, 0.02f);

  // A file ends where its share of the parameters is met, or where each file left needs a tensor.
  std::uint64_t done = 0;
  std::uint32_t file = 0;
  for (std::size_t t = 0; t < all.size(); ++t) {
    all[t].file = file;
    const auto& shape = all[t].entry.shape;
    done += shape.size() == 2 ? shape[0] * shape[1] : shape[0];
    const bool share_met = done >= m.parameters() / shards * (file + 1);
    if (file + 1 < shards && (share_met || all.size() - t - 1 <= shards - file - 1))
      ++file;
  }
  return all;
}

std::string config_text(const model_shape& m, kernels::dtype type) {
  return text_of(nlohmann::ordered_json{{"architectures", {"LlamaForCausalLM"}},
                                        {"attention_bias", false},
                                        {"attention_dropout", 0.0},
                                        {"bos_token_id", 1},
                                        {"eos_token_id", 2},
                                        {"head_dim", m.head_values},
                                        {"hidden_act", "silu"},
                                        {"hidden_size", m.hidden},
                                        {"initializer_range", 0.02},
                                        {"intermediate_size", m.intermediate},
                                        {"max_position_embeddings", 4096},
                                        {"mlp_bias", false},
                                        {"model_type", "llama"},
                                        {"num_attention_heads", m.heads},
                                        {"num_hidden_layers", m.layers},
                                        {"num_key_value_heads", m.kv_heads},
                                        {"rms_norm_eps", 1e-5},
                                        {"rope_theta", 10000.0},
                                        {"tie_word_embeddings", false},
                                        {"torch_dtype", torch_name(type)},
                                        {"use_cache", true},
                                        {"vocab_size", m.vocabulary}},
                 2)
         + "\n";
}

std::string generation_config_text() {
  return text_of(nlohmann::ordered_json{{"_from_model_config", true},
                                        {"bos_token_id", 1},
                                        {"eos_token_id", 2}},
                 2)
         + "\n";
}

} // namespace viva::formats
