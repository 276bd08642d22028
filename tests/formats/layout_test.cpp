#include "tests/formats/layouts.hpp"

#include <cstdlib>
#include <limits>

using namespace viva;
using namespace viva::formats;
using namespace viva::formats::testing;

TEST_CASE("layout: nf4 becomes bitsandbytes' keys, tables and quant_state") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const auto out = laid(c, "nf4", "bitsandbytes");
  const std::string q = "model.layers.0.q_proj.weight";
  check_tensor(out, q, "U8", {16384, 1});
  check_tensor(out, q + ".absmax", "F32", {512});
  check_tensor(out, q + ".quant_map", "F32", {16});
  const auto* state = find(out, q + ".quant_state.bitsandbytes__nf4");
  REQUIRE(state != nullptr);
  CHECK(state->bytes
        == R"({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [64, 512]})");
  CHECK(find(out, q + ".nested_absmax") == nullptr);
  CHECK(find(out, q + ".quant_map")->bytes.substr(0, 8)
        == std::string("\x00\x00\x80\xbf\xb1\x39\x32\xbf", 8));
  check_tensor(out, "model.layers.0.up_proj.weight", "U8", {144, 1});
  check_tensor(out, "model.layers.0.up_proj.weight.absmax", "F32", {5}); // ceil(288 / 64)
  CHECK(find(out, "model.layers.0.mlp.gate.weight")->what == out_tensor::kind::copy);
}

TEST_CASE("layout: nf4-dq keeps a place for the offset that the survey brings") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const auto out = laid(c, "nf4-dq", "bitsandbytes");
  const std::string q = "model.layers.0.q_proj.weight";
  check_tensor(out, q + ".absmax", "U8", {512});
  check_tensor(out, q + ".nested_absmax", "F32", {2});
  check_tensor(out, q + ".nested_quant_map", "F32", {256});
  const auto* state = find(out, q + ".quant_state.bitsandbytes__nf4");
  REQUIRE(state != nullptr);
  CHECK(state->what == out_tensor::kind::numbers);
  const auto recipe = kernels::parse_recipe("nf4-dq", kernels::dtype::bf16).value();
  const auto& source = entry_of(c, state->source);
  const auto text = numbers_text(*state, recipe, source, {{0.2383270263671875f, 0.0f}});
  CHECK(text.size() == state->entry.bytes());
  CHECK(text.substr(0, text.find_last_not_of(' ') + 1)
        == R"({"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [64, 512], )"
           R"("nested_blocksize": 256, "nested_dtype": "float32", )"
           R"("nested_offset": 0.2383270263671875})");

  // As Python spells floats, and never longer than the place.
  const std::pair<float, const char*> spellings[] = {
      {0.0f, "0.0"},
      {1.0f, "1.0"},
      {1e-4f, "9.999999747378752e-05"},
      {0.001f, "0.0010000000474974513"},
      {16777216.0f, "16777216.0"},
      {1e15f, "999999986991104.0"},
      {1e17f, "9.999999843067494e+16"},
      {std::numeric_limits<float>::denorm_min(), "1.401298464324817e-45"},
      {std::numeric_limits<float>::max(), "3.4028234663852886e+38"}};
  for (const auto& [value, spelt] : spellings) {
    const auto state_text = numbers_text(*state, recipe, source, {{value, 0.0f}});
    INFO(state_text);
    CHECK(state_text.size() == state->entry.bytes());
    CHECK(has(state_text, std::string("\"nested_offset\": ") + spelt + "}"));
    CHECK(json::parse(state_text).at("nested_offset").get<float>() == value);
  }
}

TEST_CASE("layout: bitsandbytes' config names what stays in 16 bits and keeps the rest") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const auto plain = config_of(laid(c, "nf4", "bitsandbytes"));
  CHECK(plain.at("rms_norm_eps") == 1e-5);
  CHECK(plain.at("torch_dtype") == "bfloat16");
  CHECK(plain.at("quantization_config") == json::parse(R"({"_load_in_4bit":true,
    "_load_in_8bit":false,"bnb_4bit_compute_dtype":"bfloat16","bnb_4bit_quant_storage":"uint8",
    "bnb_4bit_quant_type":"nf4","bnb_4bit_use_double_quant":false,
    "llm_int8_enable_fp32_cpu_offload":false,"llm_int8_has_fp16_weight":false,
    "llm_int8_skip_modules":["lm_head","model.layers.0.mlp.gate"],"llm_int8_threshold":6.0,
    "load_in_4bit":true,"load_in_8bit":false,"quant_method":"bitsandbytes"})"));
  const auto nested = config_of(laid(c, "nf4-dq", "bitsandbytes"));
  CHECK(nested.at("quantization_config").at("bnb_4bit_use_double_quant") == true);
}

TEST_CASE("layout: int8 becomes compressed-tensors W8A8 with the list of what it ignores") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  auto choices = choose_all(c, "int8");
  std::erase_if(choices, [&](const choice& each) {
    return entry_of(c, each.source).name == "model.layers.0.up_proj.weight";
  });
  const auto out = lay_out(c, choices, "compressed-tensors", "9.9");
  REQUIRE(out);
  check_offsets(*out);
  check_tensor(*out, "model.layers.0.q_proj.weight", "I8", {64, 512});
  check_tensor(*out, "model.layers.0.q_proj.weight_scale", "BF16", {64, 1});
  CHECK(config_of(*out).at("quantization_config")
        == json::parse(R"({"quant_method":"compressed-tensors","version":"0.18.0",
    "format":"int-quantized","quantization_status":"compressed","global_compression_ratio":null,
    "kv_cache_scheme":null,
    "ignore":["lm_head","model.layers.0.mlp.gate","model.layers.0.up_proj"],"sparsity_config":{},
    "config_groups":{"group_0":{"targets":["Linear"],
      "weights":{"num_bits":8,"type":"int","symmetric":true,"strategy":"channel","dynamic":false},
      "input_activations":{"num_bits":8,"type":"int","symmetric":true,"strategy":"token",
        "dynamic":true},
      "output_activations":null}}})"));
}

TEST_CASE("layout: GGUF's blocks stay under the weight's own name, without a quantization_config") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const auto out = laid(c, "q4_0", "safetensors");
  check_tensor(out, "model.layers.0.q_proj.weight", "U8", {64, 512 / 32 * 18});
  CHECK(config_of(out) == json::parse(config));
}

TEST_CASE("layout: the output mirrors the source's shards, texts and other files") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const auto out = laid(c, "nf4", "bitsandbytes");
  CHECK(out.folder);
  REQUIRE(out.files.size() == 2);
  CHECK(out.files[0].name == c.files[0].name);
  CHECK(out.copies == std::vector<std::filesystem::path>{"tokenizer.json"});
  REQUIRE(out.texts.size() == 2);
  const auto index = json::parse(out.texts[1].text);
  CHECK(out.texts[1].name == "model.safetensors.index.json");
  std::uint64_t total = 0;
  std::size_t tensors = 0;
  for (const auto& file : out.files)
    for (const auto& each : file.tensors) {
      total += each.entry.bytes();
      ++tensors;
      CHECK(index.at("weight_map").at(each.entry.name) == file.name);
    }
  CHECK(index.at("metadata").at("total_size") == total);
  CHECK(index.at("weight_map").size() == tensors);
  CHECK(has(out.files[0].header, "\"origin\":\"a test\"")); // the source's own metadata
}

TEST_CASE("layout: a single file stays one") {
  const temporary_folder folder;
  const auto c = open_checkpoint(put(folder / "x.safetensors",
                                     normal_file({tensor("a.weight", "F32", {4, 64})}, 1)))
                     .value();
  const auto out = laid(c, "nf4", "bitsandbytes");
  CHECK_FALSE(out.folder);
  CHECK(out.files.size() == 1);
  CHECK(out.texts.empty());
}

TEST_CASE("layout: what a layout or method cannot take is refused by name") {
  const temporary_folder folder;
  put_model(folder, config);
  const auto c = open_checkpoint(folder.path()).value();
  const auto refused = [&](const std::vector<choice>& choices, const std::string& layout) {
    const auto out = lay_out(c, choices, layout, "9.9");
    REQUIRE_FALSE(out);
    return out.error();
  };
  CHECK(refused({}, "gguf").code == errc::bad_option);
  const auto mixed = refused(choose_all(c, "int8"), "bitsandbytes");
  CHECK(mixed.code == errc::unsupported);
  CHECK(has(mixed.text,
            "'model.layers.0.q_proj.weight': layout bitsandbytes cannot hold method int8"));
  const auto q8 = kernels::parse_recipe("q8_0", kernels::dtype::bf16).value();
  const auto q8_f32 = kernels::parse_recipe("q8_0", kernels::dtype::f32).value();
  for (std::uint32_t t = 0; t < c.files[0].header.tensors.size(); ++t) {
    const auto& entry = entry_of(c, {0, t});
    if (entry.shape.size() == 1)
      CHECK(refused({{{0, t}, q8}}, "safetensors").code == errc::bad_shape);
    else
      CHECK(refused({{{0, t}, q8_f32}}, "safetensors").code == errc::unsupported);
  }
  const auto odd = open_checkpoint(put(folder / "odd.safetensors",
                                       normal_file({tensor("a.weight", "BF16", {4, 33})}, 1)))
                       .value();
  CHECK(lay_out(odd, choose_all(odd, "q8_0"), "safetensors", "9.9").error().code
        == errc::bad_shape);
}

TEST_CASE("layout: a model that is quantized already, or a config that is broken, is refused") {
  const std::pair<const char*, errc> configs[] = {
      {R"({"quantization_config":{"quant_method":"fp8"}})", errc::unsupported},
      {"{", errc::malformed},
      {"[]", errc::malformed},
      {R"({"a":1,"a":2})", errc::malformed}};
  for (const auto& [text, code] : configs) {
    const temporary_folder folder;
    put_model(folder, text);
    const auto c = open_checkpoint(folder.path()).value();
    const auto out = lay_out(c, choose_all(c, "nf4"), "bitsandbytes", "9.9");
    REQUIRE_FALSE(out);
    CHECK(out.error().code == code);
    CHECK(has(out.error().text, "config.json"));
  }
}

TEST_CASE("layout: GPT-2's transposed weights go to no engine's layout") {
  const temporary_folder folder;
  put(folder / "model.safetensors",
      normal_file({tensor("h.0.attn.c_attn.weight", "BF16", {32, 96})}, 1));
  put(folder / "config.json", R"({"model_type":"gpt2"})");
  const auto c = open_checkpoint(folder.path()).value();
  CHECK(lay_out(c, choose_all(c, "nf4"), "bitsandbytes", "9.9").error().code == errc::unsupported);
  CHECK(lay_out(c, choose_all(c, "q8_0"), "safetensors", "9.9"));
}

TEST_CASE("layout: a name that a side tensor needs and another tensor has is refused") {
  const temporary_folder folder;
  const auto c = open_checkpoint(put(folder / "x.safetensors",
                                     normal_file({tensor("a.weight", "BF16", {4, 64}),
                                                  tensor("a.weight.absmax", "F32", {4})},
                                                 1)))
                     .value();
  CHECK(lay_out(c, choose_all(c, "nf4"), "bitsandbytes", "9.9").error().code == errc::unsupported);
}
