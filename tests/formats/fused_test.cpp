#include "formats/fused.hpp"
#include "tests/formats/output.hpp"
#include "tests/support/catch.hpp"

using namespace viva;
using namespace viva::formats;
using namespace viva::formats::testing;

namespace {

/// Two files whose fused layers cross the border between them.
checkpoint model_in(const temporary_folder& folder) {
  put(folder / "model-00001-of-00002.safetensors",
      normal_file({tensor("l.0.attn.q_proj.weight", "BF16", {64, 64}),
                   tensor("l.0.mlp.gate_proj.weight", "BF16", {64, 64}),
                   tensor("l.0.mlp.down_proj.weight", "BF16", {64, 64})},
                  1));
  put(folder / "model-00002-of-00002.safetensors",
      normal_file({tensor("l.0.attn.k_proj.weight", "BF16", {64, 64}),
                   tensor("l.0.mlp.up_proj.weight", "BF16", {64, 64})},
                  2));
  put(folder / "model.safetensors.index.json", R"({"weight_map":{
    "l.0.attn.q_proj.weight":"model-00001-of-00002.safetensors",
    "l.0.mlp.gate_proj.weight":"model-00001-of-00002.safetensors",
    "l.0.mlp.down_proj.weight":"model-00001-of-00002.safetensors",
    "l.0.attn.k_proj.weight":"model-00002-of-00002.safetensors",
    "l.0.mlp.up_proj.weight":"model-00002-of-00002.safetensors"}})");
  put(folder / "config.json", R"({"model_type":"llama"})");
  return open_checkpoint(folder.path()).value();
}

} // namespace

TEST_CASE("fused: q, k and v are one layer, and gate and up, each within its own module") {
  CHECK(fused_layer("l.0.attn.q_proj.weight") == "l.0.attn.qkv");
  CHECK(fused_layer("l.0.attn.k_proj.weight") == fused_layer("l.0.attn.v_proj.weight"));
  CHECK(fused_layer("l.0.attn.q_proj.weight") != fused_layer("l.1.attn.q_proj.weight"));
  CHECK(fused_layer("m.mlp.gate_proj.weight") == fused_layer("m.mlp.up_proj.weight"));
  CHECK(fused_layer("m.experts.3.w1.weight") == fused_layer("m.experts.3.w3.weight"));
  CHECK(fused_layer("m.experts.3.w1.weight") != fused_layer("m.experts.4.w3.weight"));
  CHECK(fused_layer("s.q_a_proj.weight") == fused_layer("s.kv_a_proj_with_mqa.weight"));
  CHECK(fused_layer("e.attention.self.query.weight")
        == fused_layer("e.attention.self.value.weight"));
  for (const char* alone : {"l.0.attn.o_proj.weight", "l.0.mlp.down_proj.weight", "m.w2.weight",
                            "s.q_b_proj.weight", "l.0.attn.q_proj.bias", "q_proj", ""})
    CHECK(fused_layer(alone).empty());
}

TEST_CASE("fused: fp8-block takes all members but the last in whole blocks of rows") {
  const temporary_folder folder;
  const auto refused = [&](std::uint64_t k_rows, std::uint64_t v_rows, const std::string& method) {
    put(folder / "model.safetensors",
        normal_file({tensor("l.q_proj.weight", "BF16", {256, 128}),
                     tensor("l.k_proj.weight", "BF16", {k_rows, 128}),
                     tensor("l.v_proj.weight", "BF16", {v_rows, 128}),
                     tensor("l.o_proj.weight", "BF16", {200, 128})},
                    1));
    const auto c = open_checkpoint(folder / "model.safetensors").value();
    const auto out = lay_out(c, choose_all(c, method), "compressed-tensors", "9.9");
    return out ? std::string{} : out.error().text;
  };
  CHECK(refused(128, 192, "fp8-block").empty());
  CHECK(refused(192, 128, "fp8").empty());
  const auto text = refused(192, 192, "fp8-block");
  CHECK(text.find("l.k_proj.weight") != std::string::npos);
  CHECK(text.find("192 rows") != std::string::npos);
}

TEST_CASE("fused: weights of one layer with different methods are refused by both names") {
  const temporary_folder folder;
  const auto c = model_in(folder);
  const auto all = choose_all(c, "fp8");
  CHECK(lay_out(c, all, "compressed-tensors", "9.9"));
  const auto refused = [&](std::vector<choice> choices, const std::string& layout) {
    const auto out = lay_out(c, choices, layout, "9.9");
    return out ? std::string{} : out.error().text;
  };
  const auto with = [&](const std::string& name, const std::string& method) {
    auto choices = all;
    for (auto& each : choices)
      if (entry_of(c, each.source).name == name)
        each.recipe = kernels::parse_recipe(method, kernels::dtype::bf16).value();
    return choices;
  };
  const auto mixed = refused(with("l.0.mlp.up_proj.weight", "fp8-tensor"), "compressed-tensors");
  CHECK(has(mixed, "'l.0.mlp.up_proj.weight': becomes fp8-tensor"));
  CHECK(has(mixed, "'l.0.mlp.gate_proj.weight' becomes fp8"));
  CHECK(refused(with("l.0.mlp.down_proj.weight", "fp8-tensor"), "compressed-tensors").empty());

  auto some = all;
  std::erase_if(some, [&](const choice& each) {
    return entry_of(c, each.source).name == "l.0.attn.k_proj.weight";
  });
  const auto half = refused(some, "compressed-tensors");
  CHECK(has(half, "'l.0.attn.k_proj.weight': stays as it is"));
  CHECK(has(half, "'l.0.attn.q_proj.weight' becomes fp8"));

  auto plain = choose_all(c, "q8_0");
  plain.pop_back();
  CHECK(refused(plain, "safetensors").empty()); // no engine, nothing is fused
}
