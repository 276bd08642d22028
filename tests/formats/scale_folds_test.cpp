#include "formats/scale_folds.hpp"

#include "formats/note.hpp"
#include "tests/formats/layouts.hpp"
#include "tests/support/catch.hpp"

#include <algorithm>

namespace viva::formats::testing {

namespace {

constexpr auto layer = "model.layers.3.";

/// One layer of a model: 64 hidden, 128 intermediate, `kv` rows of k and v.
std::vector<tensor_entry> layer_tensors(std::uint64_t kv = 64) {
  const std::string in = layer;
  return {tensor(in + "input_layernorm.weight", "BF16", {64}),
          tensor(in + "post_attention_layernorm.weight", "BF16", {64}),
          tensor(in + "self_attn.q_proj.weight", "BF16", {64, 64}),
          tensor(in + "self_attn.k_proj.weight", "BF16", {kv, 64}),
          tensor(in + "self_attn.v_proj.weight", "BF16", {kv, 64}),
          tensor(in + "self_attn.v_proj.bias", "BF16", {kv}),
          tensor(in + "self_attn.o_proj.weight", "BF16", {64, 64}),
          tensor(in + "mlp.gate_proj.weight", "BF16", {128, 64}),
          tensor(in + "mlp.up_proj.weight", "BF16", {128, 64}),
          tensor(in + "mlp.down_proj.weight", "BF16", {64, 128})};
}

checkpoint model_of(const temporary_folder& folder, const std::string& type,
                    std::vector<tensor_entry> tensors) {
  put(folder / "m" / "model.safetensors", file_of(std::move(tensors)));
  put(folder / "m" / "config.json", R"({"model_type":")" + type + "\"}");
  return open_checkpoint(folder / "m").value();
}

std::string name_of(const checkpoint& c, tensor_ref ref) {
  return c.files[ref.file].header.tensors[ref.tensor].name.substr(std::string(layer).size());
}

/// "what is divided > what is multiplied …", for each fold, sorted.
std::vector<std::string> folds_of(const checkpoint& c) {
  const auto found = find_scale_folds(c, choose_all(c, "awq:group=32"));
  REQUIRE(found);
  std::vector<std::string> all;
  for (const auto& fold : found->folds) {
    auto text = name_of(c, fold.divided) + (fold.bias ? " and bias >" : " >");
    for (const auto ref : fold.weights)
      text += " " + name_of(c, ref);
    all.push_back(text + (fold.plus != 0 ? " plus" : ""));
  }
  std::ranges::sort(all);
  return all;
}

} // namespace

TEST_CASE("scale folds: a llama's weights are folded into what alone feeds them", "[scales]") {
  const temporary_folder folder;
  const std::vector<std::string> all = {
      "input_layernorm.weight > self_attn.q_proj.weight self_attn.k_proj.weight "
      "self_attn.v_proj.weight",
      "mlp.up_proj.weight > mlp.down_proj.weight",
      "post_attention_layernorm.weight > mlp.gate_proj.weight mlp.up_proj.weight",
      "self_attn.v_proj.weight and bias > self_attn.o_proj.weight"};
  CHECK(folds_of(model_of(folder, "llama", layer_tensors())) == all);

  auto grouped = all; // fewer key-value heads than heads
  grouped.pop_back();
  CHECK(folds_of(model_of(folder, "llama", layer_tensors(32))) == grouped);
}

TEST_CASE("scale folds: models are folded as they compute, unknown ones not at all", "[scales]") {
  const temporary_folder folder;
  CHECK(folds_of(model_of(folder, "mixtral", layer_tensors())).empty());
  const auto gemma = folds_of(model_of(folder, "gemma", layer_tensors()));
  CHECK(gemma.size() == 4);
  CHECK(gemma.front().ends_with(" plus"));
  CHECK_FALSE(gemma.back().ends_with(" plus")); // rows of v_proj
  // Its norm behind the attention does not feed the MLP.
  CHECK(folds_of(model_of(folder, "gemma2", layer_tensors())).size() == 3);
  auto tensors = layer_tensors();
  tensors.push_back(tensor(std::string(layer) + "pre_feedforward_layernorm.weight", "BF16", {64}));
  CHECK(folds_of(model_of(folder, "gemma2", tensors))[2]
        == "pre_feedforward_layernorm.weight > mlp.gate_proj.weight mlp.up_proj.weight plus");

  const auto unknown = model_of(folder, "mixtral", layer_tensors());
  const auto choices = choose_all(unknown, "awq:group=32");
  const auto found = find_scale_folds(unknown, choices).value();
  REQUIRE(found.unscaled.size() == choices.size());
  CHECK(found.unscaled.begin()->second.starts_with("clipped only: "));
}

TEST_CASE("scale folds: weights that are not scaled alike are not scaled", "[scales]") {
  const temporary_folder folder;
  const auto c = model_of(folder, "llama", layer_tensors());
  auto choices = choose_all(c, "awq:group=32");
  std::erase_if(choices, [&](const choice& each) {
    return name_of(c, each.source) == "self_attn.k_proj.weight";
  });
  const auto found = find_scale_folds(c, choices).value();
  CHECK(found.folds.size() == 3);
  CHECK(found.unscaled.size() == 2); // q and v; o is fed by v's rows
}

TEST_CASE("scale folds: digits are noted where a part of a fold lies, and read back", "[scales]") {
  const temporary_folder folder;
  const auto c = model_of(folder, "llama", layer_tensors());
  const auto choices = choose_all(c, "awq:group=32");
  const auto folds = find_scale_folds(c, choices).value().folds;
  const auto out = lay_out(c, choices, "awq", "9.9", folds).value();
  REQUIRE(out.files.size() == 1);
  const auto& file = out.files[0];
  REQUIRE(file.scales.size() == 4);
  auto bytes = file.header + std::string(file.bytes - file.header.size(), '\0');
  float next = 1;
  for (const auto& late : file.scales) {
    std::vector<float> scales(folds[late.fold].columns, next);
    next += 0.5f;
    const auto digits = scales_text(scales);
    CHECK(bytes.substr(late.offset, digits.size()) == std::string(digits.size(), '0'));
    bytes.replace(late.offset, digits.size(), digits);
  }
  put(folder / "o" / "model.safetensors", bytes);
  const auto back = open_checkpoint(folder / "o").value();
  const auto weights = read_logical(back);
  REQUIRE(weights);
  const auto find = [&](const std::string& name) -> const logical_tensor& {
    return *std::ranges::find(*weights, layer + name, &logical_tensor::name);
  };
  const auto& v = find("self_attn.v_proj.weight");
  REQUIRE(v.scales.columns);
  REQUIRE(v.scales.rows);
  CHECK(v.scales.columns == find("self_attn.q_proj.weight").scales.columns);
  CHECK(v.scales.rows == find("self_attn.o_proj.weight").scales.columns);
  CHECK(v.scales.rows == find("self_attn.v_proj.bias").scales.rows);
  CHECK(find("input_layernorm.weight").scales.rows == v.scales.columns);
  CHECK_FALSE(find("mlp.down_proj.weight").scales.rows);
  CHECK(find("mlp.down_proj.weight").scales.columns->size() == 128);

  const auto refused = [&](const std::string& part, const std::string& by, const char* says) {
    auto torn = bytes;
    REQUIRE(torn.find(part) != std::string::npos);
    put(folder / "t.safetensors", torn.replace(torn.find(part), part.size(), by));
    const auto read = read_logical(open_checkpoint(folder / "t.safetensors").value());
    REQUIRE_FALSE(read);
    CHECK(read.error().code == errc::malformed);
    INFO(read.error().text);
    CHECK(read.error().text.find(says) != std::string::npos);
  };
  refused(R"("viva.scales")", R"("viva.scalez")", "digits is missing");
  refused(R"("viva":)", R"("vivx":)", "no viva that tells");
  refused(R"(\"scaled\":{\"model)", R"(\"scaled\":{\"nodel)", "nodel");
}

TEST_CASE("scale folds: a file that holds divided norms is not quantized anew", "[scales]") {
  const temporary_folder folder;
  const auto laid_with = [&](const std::map<std::string, std::string>& metadata) {
    put(folder / "f.safetensors", file_of({tensor("a.weight", "BF16", {8, 32})}, metadata));
    const auto c = open_checkpoint(folder / "f.safetensors").value();
    return lay_out(c, choose_all(c, "q8_0"), "safetensors", "9.9");
  };
  const std::string note = R"({"version":"1","tensors":{}})";
  CHECK(laid_with({{"viva", note}}));
  const auto refused = laid_with({{"viva", note}, {"viva.scales", ""}});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::unsupported);
}

TEST_CASE("scale note: sets that are not what the note says are refused", "[scales]") {
  const auto read = [](const std::string& note, std::optional<std::string_view> digits) {
    return read_scales(note, digits, "f.safetensors");
  };
  const std::string note =
      R"({"scales":[2],"scaled":{"a":{"columns":0},"b":{"rows":0,"plus":1.0}}})";
  CHECK(read(R"({"tensors":{}})", std::nullopt).value().empty());
  for (const std::string half : {R"({"scales":[2],"scaled":{"a":{"columns":0}}})",
                                 R"({"scales":[]})", R"({"scaled":{}})"})
    CHECK(read(half, std::nullopt).error().code == errc::malformed);
  const auto good = read(note, "3f80000040000000");
  REQUIRE(good);
  CHECK(*good->at("a").columns == std::vector{1.0f, 2.0f});
  CHECK(good->at("b").plus == 1.0f);
  for (const std::string digits : {"3f800000", "3f8000004000000", "3f80000040000000aa", "",
                                   "3f8000004000000g", "3f80000000000000", "3f8000007f800000"})
    CHECK(read(note, digits).error().code == errc::malformed);
  for (const std::string bad :
       {R"({"scaled":{}})", R"({"scales":[2]})", R"({"scales":[2],"scaled":{}})",
        R"({"scales":[-2],"scaled":{}})",
        R"({"scales":[2],"scaled":{"a":{"columns":1}}})",
        R"({"scales":[2],"scaled":{"a":{"columns":0,"plus":2}}})",
        R"({"scales":[2],"scaled":{"a":7}})"})
    CHECK(read(bad, "3f80000040000000").error().code == errc::malformed);
}

} // namespace viva::formats::testing
