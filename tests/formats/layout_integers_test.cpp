#include "tests/formats/layouts.hpp"

using namespace viva;
using namespace viva::formats;
using namespace viva::formats::testing;

TEST_CASE("layout: awq becomes AutoAWQ's GEMM, transposed, in float16", "[awq]") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  auto choices = choose_all(c, "awq:group=64");
  std::erase_if(choices, [&](const choice& each) {
    return entry_of(c, each.source).name != "model.layers.0.q_proj.weight";
  });
  const auto out = lay_out(c, choices, "awq", "9.9");
  REQUIRE(out);
  check_offsets(*out);
  check_tensor(*out, "model.layers.0.q_proj.qweight", "I32", {512, 8});
  check_tensor(*out, "model.layers.0.q_proj.qzeros", "I32", {8, 8});
  check_tensor(*out, "model.layers.0.q_proj.scales", "F16", {8, 64});
  check_tensor(*out, "model.layers.0.q_proj.bias", "BF16", {64});
  CHECK(find(*out, "model.layers.0.q_proj.weight") == nullptr);
  CHECK(config_of(*out).at("torch_dtype") == "float16");
  CHECK(config_of(*out).at("quantization_config") == json::parse(R"({"bits":4,"group_size":64,
    "modules_to_not_convert":["lm_head","model.layers.0.down_proj","model.layers.0.mlp.gate",
      "model.layers.0.up_proj"],
    "quant_method":"awq","version":"gemm","zero_point":true})"));
}

TEST_CASE("layout: awq refuses what its words and groups cannot hold", "[awq]") {
  const temporary_folder folder;
  const auto refused = [&](const tensor_entry& weight, const std::string& method) {
    const auto c = open_checkpoint(put(folder / "a.safetensors", normal_file({weight}, 1))).value();
    return lay_out(c, choose_all(c, method), "awq", "9.9").error().text;
  };
  CHECK(has(refused(tensor("a.weight", "BF16", {12, 128}), "awq"), "has 12 rows"));
  CHECK(has(refused(tensor("a.weight", "BF16", {16, 160}), "awq"), "groups of 128 do not divide"));
  put(folder / "config.json", "{}");
  const auto file = normal_file(
      {tensor("a.weight", "BF16", {16, 128}), tensor("b.weight", "BF16", {16, 128})}, 1);
  const auto c = open_checkpoint(put(folder / "a.safetensors", file).parent_path()).value();
  auto choices = choose_all(c, "awq");
  const auto plain = lay_out(c, choices, "awq", "9.9");
  REQUIRE(plain);
  CHECK(config_of(*plain).at("quantization_config").at("modules_to_not_convert").is_null());
  choices[1].recipe.block = 64;
  CHECK(has(lay_out(c, choices, "awq", "9.9").error().text, "has groups of 64"));
}

TEST_CASE("layout: int8-tensor has one scale, and its strategy says so") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const auto out = laid(c, "int8-tensor", "compressed-tensors");
  check_tensor(out, "model.layers.0.q_proj.weight", "I8", {64, 512});
  check_tensor(out, "model.layers.0.q_proj.weight_scale", "BF16", {1});
  const auto group = config_of(out).at("quantization_config").at("config_groups").at("group_0");
  CHECK(group.at("weights").at("strategy") == "tensor");
  CHECK(group.at("input_activations").at("strategy") == "token");
}

TEST_CASE("layout: int4 and int8-group become compressed-tensors pack-quantized") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const std::string q = "model.layers.0.q_proj.weight";
  const auto group_of = [](const out_checkpoint& out) {
    const auto said = config_of(out).at("quantization_config");
    CHECK(said.at("format") == "pack-quantized");
    return said.at("config_groups").at("group_0");
  };
  const auto four = laid(c, "int4:group=32", "compressed-tensors");
  check_tensor(four, q + "_packed", "I32", {64, 64});
  check_tensor(four, q + "_scale", "BF16", {64, 16});
  check_tensor(four, q + "_shape", "I64", {2});
  CHECK(find(four, q) == nullptr);
  CHECK(find(four, q + "_zero_point") == nullptr);
  CHECK(find(four, q + "_shape")->bytes == std::string("\x40\0\0\0\0\0\0\0\0\x02\0\0\0\0\0\0", 16));
  CHECK(group_of(four) == json::parse(R"({"targets":["Linear"],"weights":{"num_bits":4,
    "type":"int","symmetric":true,"strategy":"group","dynamic":false,"group_size":32},
    "input_activations":null,"output_activations":null})"));
  const auto asym = laid(c, "int4:group=32:asym", "compressed-tensors");
  check_tensor(asym, q + "_zero_point", "I32", {8, 16});
  check_tensor(asym, "model.layers.0.up_proj.weight_zero_point", "I32", {1, 3}); // 3 rows of 8
  CHECK(group_of(asym).at("weights").at("symmetric") == false);
  const auto eight = laid(c, "int8-group:group=32", "compressed-tensors");
  check_tensor(eight, q + "_packed", "I32", {64, 128});
  CHECK(group_of(eight).at("weights").at("num_bits") == 8);
}

TEST_CASE("layout: a group must divide the columns") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const auto out = lay_out(c, choose_all(c, "int4:group=64"), "compressed-tensors", "9.9");
  REQUIRE_FALSE(out);
  CHECK(out.error().code == errc::bad_shape);
  CHECK(has(out.error().text, "'model.layers.0.down_proj.weight': has 32 columns; method "
                              "int4:group=64 needs a multiple of 64"));
}

TEST_CASE("layout: llm-int8 becomes bitsandbytes' I8, SCB and weight_format") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const auto out = laid(c, "llm-int8", "bitsandbytes");
  check_tensor(out, "model.layers.0.q_proj.weight", "I8", {64, 512});
  check_tensor(out, "model.layers.0.q_proj.SCB", "F32", {64});
  check_tensor(out, "model.layers.0.q_proj.weight_format", "U8", {});
  CHECK(find(out, "model.layers.0.q_proj.weight_format")->bytes == std::string(1, '\0'));
  CHECK(config_of(out).at("quantization_config") == json::parse(R"({"_load_in_4bit":false,
    "_load_in_8bit":true,"bnb_4bit_compute_dtype":"float32","bnb_4bit_quant_storage":"uint8",
    "bnb_4bit_quant_type":"fp4","bnb_4bit_use_double_quant":false,
    "llm_int8_enable_fp32_cpu_offload":false,"llm_int8_has_fp16_weight":false,
    "llm_int8_skip_modules":["lm_head","model.layers.0.mlp.gate"],"llm_int8_threshold":6.0,
    "load_in_4bit":false,"load_in_8bit":true,"quant_method":"bitsandbytes"})"));
  auto mixed = choose_all(c, "llm-int8");
  mixed.front().recipe = kernels::parse_recipe("nf4", kernels::dtype::bf16).value();
  const auto refused = lay_out(c, mixed, "bitsandbytes", "9.9");
  REQUIRE_FALSE(refused);
  CHECK(has(refused.error().text, "either nf4 or llm-int8"));
}
