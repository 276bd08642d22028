#include "tests/formats/output.hpp"
#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

using namespace viva;
using namespace viva::formats;
using namespace viva::formats::testing;
using json = nlohmann::json;

namespace {

/// A folder with one weight of 300 rows.
checkpoint model_in(const temporary_folder& folder, std::uint64_t cols = 320) {
  put(folder / "config.json", R"({"model_type":"llama","torch_dtype":"bfloat16"})");
  put(folder / "model.safetensors",
      normal_file({tensor("a.o_proj.weight", "BF16", {300, cols})}, 1));
  return open_checkpoint(folder.path()).value();
}

struct laid_out {
  out_checkpoint out;
  json config; ///< Its quantization_config.
};

laid_out laid(const checkpoint& c, const std::string& method) {
  auto out = lay_out(c, choose_all(c, method), "compressed-tensors", "9.9");
  INFO((out ? "" : out.error().text));
  REQUIRE(out);
  auto config = json::parse(out->texts.front().text).at("quantization_config");
  return {std::move(*out), std::move(config)};
}

void check_tensor(const laid_out& laid, const std::string& name, const std::string& dtype,
                  const std::vector<std::uint64_t>& shape) {
  INFO(name);
  const auto& all = laid.out.files.front().tensors;
  const auto found =
      std::ranges::find(all, name, [](const out_tensor& each) { return each.entry.name; });
  REQUIRE(found != all.end());
  CHECK(found->entry.dtype == dtype);
  CHECK(found->entry.shape == shape);
}

void check_scheme(const laid_out& laid, const std::string& format, const std::string& weights,
                  const std::string& inputs) {
  CHECK(laid.config.at("quant_method") == "compressed-tensors");
  CHECK(laid.config.at("format") == format);
  const auto& group = laid.config.at("config_groups").at("group_0");
  CHECK(group.at("weights") == json::parse(weights));
  CHECK(group.at("input_activations") == json::parse(inputs));
}

/// Whether a file with these tensors is read, and as what: the first method, or the error.
std::string read_as(const temporary_folder& folder, const std::vector<tensor_entry>& tensors) {
  const auto c = open_checkpoint(put(folder / "foreign.safetensors", file_of(tensors))).value();
  const auto read = read_logical(c);
  if (!read)
    return read.error().text;
  for (const auto& each : *read)
    if (each.recipe)
      return each.name + " " + each.recipe->name() + " " + each.dtype;
  return "plain";
}

constexpr auto fp8_tokens =
    R"({"num_bits":8,"type":"float","symmetric":true,"strategy":"token","dynamic":true})";

} // namespace

TEST_CASE("layout: fp8 becomes float-quantized, scales per row, tensor or block") {
  const temporary_folder folder;
  const auto c = model_in(folder);
  const auto row = laid(c, "fp8");
  check_tensor(row, "a.o_proj.weight", "F8_E4M3", {300, 320});
  check_tensor(row, "a.o_proj.weight_scale", "BF16", {300, 1});
  check_scheme(row, "float-quantized", R"({"num_bits":8,"type":"float","symmetric":true,
    "strategy":"channel","dynamic":false})",
               fp8_tokens);
  const auto whole = laid(c, "fp8-tensor");
  check_tensor(whole, "a.o_proj.weight_scale", "BF16", {1});
  check_scheme(whole, "float-quantized", R"({"num_bits":8,"type":"float","symmetric":true,
    "strategy":"tensor","dynamic":false})",
               fp8_tokens);
  const auto block = laid(model_in(folder, 384), "fp8-block");
  check_tensor(block, "a.o_proj.weight_scale", "BF16", {3, 3});
  check_scheme(block, "float-quantized", R"({"num_bits":8,"type":"float","symmetric":true,
    "strategy":"block","dynamic":false,"block_structure":[128,128]})",
               R"({"num_bits":8,"type":"float","symmetric":true,"strategy":"group","dynamic":true,
    "group_size":128})");
}

TEST_CASE("layout: fp8-block is refused where columns end within a block") {
  const temporary_folder folder;
  const auto c = model_in(folder);
  const auto out = lay_out(c, choose_all(c, "fp8-block"), "compressed-tensors", "9.9");
  REQUIRE(!out);
  CHECK(out.error().code == errc::bad_shape);
  CHECK(has(out.error().text, "'a.o_proj.weight'"));
  CHECK(has(out.error().text, "320 columns"));
}

TEST_CASE("layout: nvfp4 and mxfp4 become packed weights of float groups") {
  const temporary_folder folder;
  const auto c = model_in(folder);
  for (const std::string method : {"nvfp4", "nvfp4-four-or-six"}) {
    const auto nvfp4 = laid(c, method);
    check_tensor(nvfp4, "a.o_proj.weight_packed", "U8", {300, 160});
    check_tensor(nvfp4, "a.o_proj.weight_scale", "F8_E4M3", {300, 20});
    check_tensor(nvfp4, "a.o_proj.weight_global_scale", "F32", {1});
    check_scheme(nvfp4, "nvfp4-pack-quantized", R"({"num_bits":4,"type":"float","symmetric":true,
      "strategy":"tensor_group","dynamic":false,"group_size":16})",
                 "null");
  }
  const auto mxfp4 = laid(c, "mxfp4");
  check_tensor(mxfp4, "a.o_proj.weight_packed", "U8", {300, 160});
  check_tensor(mxfp4, "a.o_proj.weight_scale", "U8", {300, 10});
  check_scheme(mxfp4, "mxfp4-pack-quantized", R"({"num_bits":4,"type":"float","symmetric":true,
    "strategy":"group","dynamic":false,"group_size":32,"scale_dtype":"torch.uint8"})",
               "null");
}

TEST_CASE("encoded: other tools' fp8 is read by the shape of its scales") {
  const temporary_folder folder;
  const auto read = [&](const std::string& ending, const std::string& dtype,
                        const std::vector<std::uint64_t>& shape) {
    return read_as(folder, {tensor("a.weight", "F8_E4M3", {300, 320}),
                            tensor("a.weight" + ending, dtype, shape)});
  };
  CHECK(read("_scale", "BF16", {300, 1}) == "a.weight fp8 BF16");
  CHECK(read("_scale", "F32", {300}) == "a.weight fp8 F32");
  CHECK(read("_scale", "F32", {}) == "a.weight fp8-tensor F32");
  CHECK(read("_scale", "F32", {1}) == "a.weight fp8-tensor F32");
  CHECK(read("_scale_inv", "F32", {3, 3}) == "a.weight fp8-block F32"); // DeepSeek's name for it
  CHECK(has(read("_scale", "F32", {3, 2}), "'a.weight_scale'"));
  CHECK(has(read("_scale", "F64", {300, 1}), "F64"));
  CHECK(read("_zero", "F32", {1}) == "plain");
}

TEST_CASE("encoded: other tools' nvfp4 and mxfp4 are read, and what is missing is named") {
  const temporary_folder folder;
  const auto codes = tensor("a.weight_packed", "U8", {64, 32});
  const auto global = tensor("a.weight_global_scale", "F32", {1});
  const auto read = [&](std::vector<tensor_entry> others) {
    others.push_back(codes);
    return read_as(folder, others);
  };
  CHECK(read({tensor("a.weight_scale", "F8_E4M3", {64, 4}), global}) == "a.weight nvfp4 BF16");
  CHECK(read({tensor("a.weight_scale", "U8", {64, 2})}) == "a.weight mxfp4 BF16");
  CHECK(has(read({tensor("a.weight_scale", "F8_E4M3", {64, 4})}), "'a.weight_global_scale'"));
  CHECK(has(read({tensor("a.weight_scale", "F8_E4M3", {64, 3}), global}), "needs 256"));
  CHECK(has(read({tensor("a.weight_scale", "U8", {64, 4})}), "needs 128"));
  CHECK(has(read({tensor("a.weight_scale", "F16", {64, 2})}), "F16"));
  CHECK(read({}) == "plain");
}
