#include "tests/formats/files.hpp"
#include "tests/support/catch.hpp"

#include "formats/layout.hpp"
#include "formats/module_names.hpp"

using namespace viva::formats;
using namespace viva::formats::testing;

namespace {

bool takes(const std::string& name, std::vector<std::uint64_t> shape = {64, 64},
           const std::string& dtype = "BF16") {
  std::vector<tensor_entry> one = {tensor(name, dtype, std::move(shape))};
  lay_header(one, {});
  return quantizable(one.front());
}

} // namespace

TEST_CASE("quantizable: the Linear layers of the usual models are") {
  for (const char* name :
       {"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight",
        "model.layers.0.mlp.gate_proj.weight", "model.layers.0.mlp.gate_up_proj.weight",
        "model.layers.3.mlp.experts.7.down_proj.weight",
        "model.layers.0.block_sparse_moe.experts.0.w1.weight",
        "encoder.layer.0.attention.self.query.weight",
        "encoder.layer.0.attention.output.dense.weight", "encoder.layer.0.output.dense.weight",
        "pooler.dense.weight", "transformer.h.0.mlp.dense_h_to_4h.weight",
        "layers.0.attention.wq.weight"}) {
    INFO(name);
    CHECK(takes(name));
  }
}

TEST_CASE("quantizable: tables, norms, routers and heads are not") {
  for (const char* name : {"model.embed_tokens.weight",
                           "transformer.wte.weight",
                           "transformer.wpe.weight",
                           "embeddings.word_embeddings.weight",
                           "embeddings.position_embeddings.weight",
                           "embeddings.token_type_embeddings.weight",
                           "shared.weight",
                           "tok_embeddings.weight",
                           "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
                           "lm_head.weight",
                           "output.weight",
                           "score.weight",
                           "classifier.weight",
                           "classifier.dense.weight",
                           "model.norm.weight",
                           "model.layers.0.input_layernorm.weight",
                           "encoder.LayerNorm.weight",
                           "transformer.h.0.ln_1.weight",
                           "model.layers.0.mlp.gate.weight",
                           "model.layers.0.block_sparse_moe.gate.weight",
                           "model.layers.0.mlp.router.weight",
                           "model.layers.0.mlp.shared_expert_gate.weight",
                           "blk.0.ffn_gate_inp.gate_inp.weight"}) {
    INFO(name);
    CHECK_FALSE(takes(name));
  }
}

TEST_CASE("quantizable: only floating-point matrices called weight are") {
  const std::string name = "model.layers.0.self_attn.q_proj.weight";
  CHECK(takes(name, {1, 1}, "F16"));
  CHECK(takes(name, {1, 1}, "F32"));
  CHECK_FALSE(takes(name, {64}));
  CHECK_FALSE(takes(name, {4, 4, 4}));
  CHECK_FALSE(takes(name, {}));
  CHECK_FALSE(takes(name, {0, 64}));
  CHECK_FALSE(takes(name, {64, 64}, "I8"));
  CHECK_FALSE(takes(name, {64, 64}, "F64"));
  CHECK_FALSE(takes("model.layers.0.self_attn.q_proj.bias"));
  CHECK_FALSE(takes("weight"));
  CHECK_FALSE(takes(".weight"));
}
