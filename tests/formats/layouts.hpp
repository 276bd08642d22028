#pragma once

// A small model laid out: what the tests of the layouts share.

#include "tests/formats/output.hpp"
#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

namespace viva::formats::testing {

using json = nlohmann::json;

/// Two shards of a small model: three Linear layers, a table, a norm, a router.
inline void put_model(const temporary_folder& folder, const std::string& config) {
  put(folder / "model-00001-of-00002.safetensors",
      normal_file({tensor("model.embed_tokens.weight", "BF16", {10, 64}),
                   tensor("model.layers.0.q_proj.weight", "BF16", {64, 512}),
                   tensor("model.layers.0.q_proj.bias", "BF16", {64})},
                  1, {{"format", "np"}, {"origin", "a test"}}));
  put(folder / "model-00002-of-00002.safetensors",
      normal_file({tensor("model.layers.0.up_proj.weight", "BF16", {3, 96}),
                   tensor("model.layers.0.down_proj.weight", "BF16", {5, 32}),
                   tensor("model.layers.0.mlp.gate.weight", "BF16", {4, 64}),
                   tensor("model.norm.weight", "BF16", {64})},
                  2));
  json map;
  for (const char* name :
       {"model.embed_tokens.weight", "model.layers.0.q_proj.weight", "model.layers.0.q_proj.bias"})
    map[name] = "model-00001-of-00002.safetensors";
  for (const char* name : {"model.layers.0.up_proj.weight", "model.layers.0.down_proj.weight",
                           "model.layers.0.mlp.gate.weight", "model.norm.weight"})
    map[name] = "model-00002-of-00002.safetensors";
  put(folder / "model.safetensors.index.json", json{{"weight_map", map}}.dump());
  put(folder / "tokenizer.json", "{}");
  put(folder / "config.json", config);
}

inline const std::string config =
    "{\"model_type\": \"llama\", \"rms_norm_eps\": 1e-05, \"torch_dtype\": \"bfloat16\"}";

inline const out_tensor* find(const out_checkpoint& out, const std::string& name) {
  for (const auto& file : out.files)
    for (const auto& each : file.tensors)
      if (each.entry.name == name)
        return &each;
  return nullptr;
}

inline void check_tensor(const out_checkpoint& out, const std::string& name,
                         const std::string& dtype, const std::vector<std::uint64_t>& shape) {
  INFO(name);
  const auto* found = find(out, name);
  REQUIRE(found != nullptr);
  CHECK(found->entry.dtype == dtype);
  CHECK(found->entry.shape == shape);
}

/// Bytes follow one another without holes, and the header says the same as the plan.
inline void check_offsets(const out_checkpoint& out) {
  const temporary_folder folder;
  for (const auto& file : out.files) {
    std::uint64_t at = file.header.size();
    for (const auto& each : file.tensors) {
      CHECK(each.entry.begin == at);
      at = each.entry.end;
      if (each.what == out_tensor::kind::constant)
        CHECK(each.bytes.size() == each.entry.bytes());
    }
    CHECK(at == file.bytes);
    auto bytes = file.header;
    bytes.resize(file.bytes);
    const auto header = read_header(put(folder / "laid.safetensors", bytes));
    REQUIRE(header);
    CHECK(header->tensors.size() == file.tensors.size());
    CHECK(header->metadata.at("format") == "pt");
    CHECK(json::parse(header->metadata.at("viva")).at("version") == "9.9");
  }
}

inline out_checkpoint laid(const checkpoint& c, const std::string& method,
                           const std::string& layout) {
  auto out = lay_out(c, choose_all(c, method), layout, "9.9");
  INFO((out ? "" : out.error().text));
  REQUIRE(out);
  check_offsets(*out);
  return *out;
}

inline json config_of(const out_checkpoint& out) {
  REQUIRE(out.texts.front().name == "config.json");
  return json::parse(out.texts.front().text);
}

} // namespace viva::formats::testing
