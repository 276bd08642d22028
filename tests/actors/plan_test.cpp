// Plans without work: which tensors are chosen, what lies where. No file is read.

#include "actors/plan.hpp"
#include "actors/selection.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <ctime>

using namespace viva;
using namespace viva::actors;

namespace {

formats::tensor_entry weight(std::string name, std::uint64_t begin = 0) {
  formats::tensor_entry entry;
  entry.name = std::move(name);
  entry.dtype = "F32";
  entry.shape = {1, 64};
  entry.begin = begin;
  entry.end = begin + 256;
  return entry;
}

/// A folder of one file that holds these tensors, or of two that share them.
formats::checkpoint checkpoint_of(const std::vector<std::string>& names, std::size_t files = 1) {
  formats::checkpoint c;
  c.root = "source";
  c.folder = true;
  for (std::size_t f = 0; f < files; ++f) {
    formats::checkpoint_file file;
    file.name = "model-" + std::to_string(f) + ".safetensors";
    file.path = c.root / file.name;
    for (std::size_t i = f; i < names.size(); i += files)
      file.header.tensors.push_back(weight(names[i], 256 * (i / files)));
    c.files.push_back(std::move(file));
  }
  return c;
}

quantize_spec spec_of(std::vector<std::pair<std::string, std::string>> rules) {
  quantize_spec spec;
  spec.method = "nf4";
  spec.rules = std::move(rules);
  return spec;
}

errc refusal(const quantize_spec& spec) {
  const auto refused = selection::of(spec);
  REQUIRE_FALSE(refused);
  INFO(refused.error().text);
  CHECK_FALSE(refused.error().text.empty());
  return refused.error().code;
}

void check_quick(std::clock_t began) {
  // A second or two of this process; with a walk of all tensors for each it would take minutes.
  const auto took = static_cast<std::size_t>((std::clock() - began) / CLOCKS_PER_SEC);
  CHECK(took < tests::sized(30, 300));
}

std::vector<std::string> many_names() {
  std::vector<std::string> names;
  for (int i = 0; i < 150'000; ++i)
    names.push_back("model.layers.0.mlp.experts." + std::to_string(i) + ".weight");
  return names;
}

} // namespace

TEST_CASE("selection: the first rule that fits wins, copy and exclude keep, include narrows") {
  auto spec = spec_of({{"^a\\d", "int8"}, {"^a", "copy"}});
  spec.exclude = {"\\.no\\."};
  spec.include = {"^[ab]"};
  const auto chosen = selection::of(spec);
  REQUIRE(chosen);
  CHECK(chosen->method_of(weight("a1.weight")) == "int8");
  CHECK(chosen->method_of(weight("ax.weight")).empty());
  CHECK(chosen->method_of(weight("b.weight")) == "nf4");
  CHECK(chosen->method_of(weight("b.no.weight")).empty());
  CHECK(chosen->method_of(weight("c.weight")).empty());
}

TEST_CASE("selection: no expression on no name takes for ever or runs out of stack") {
  for (const auto* expression : {"(a*)*$x", "(a|b|ab)*c", "(.*)*(.*)*(.*)*x$", "(x+x+)+y"}) {
    auto spec = spec_of({{expression, "int8"}});
    spec.exclude = {expression};
    const auto chosen = selection::of(spec);
    REQUIRE(chosen);
    const auto name = std::string(60'000, 'a') + ".weight";
    CHECK(chosen->method_of(weight(name)) == "nf4");
  }
}

TEST_CASE("selection: methods and expressions are refused even where no tensor meets them") {
  CHECK(refusal(spec_of({{"nomatch", "bogus"}})) == errc::unknown_method);
  CHECK(refusal(spec_of({{"nomatch", "nf4:block=3"}})) == errc::bad_option);
  CHECK(refusal(spec_of({{"a(", "int8"}})) == errc::bad_option);
  CHECK(refusal(spec_of({{"(a)\\1", "int8"}})) == errc::bad_option); // needs backtracking
  CHECK(refusal(spec_of({{"(?=a)", "int8"}})) == errc::bad_option);
  auto spec = spec_of({});
  spec.method = "copy";
  CHECK(refusal(spec) == errc::unknown_method);
  CHECK(selection::of(spec_of({{"nomatch", "copy"}})));
}

TEST_CASE("dequantize: the index keeps its name, also beside a single shard") {
  for (const std::size_t files : {1u, 2u}) {
    auto c = checkpoint_of({"a.weight", "b.weight", "c.weight"}, files);
    c.index = "diffusion_pytorch_model.safetensors.index.json";
    const auto p = plan_dequantize(c, {});
    REQUIRE(p);
    REQUIRE(p->output.texts.size() == 1);
    CHECK(p->output.texts[0].name == c.index);
    const auto index = nlohmann::json::parse(p->output.texts[0].text);
    CHECK(index.at("metadata").at("total_size") == 3 * 256);
    CHECK(index.at("weight_map").at("b.weight") == c.files[files - 1].name);
    c.index.clear();
    CHECK(plan_dequantize(c, {})->output.texts.empty());
  }
}

TEST_CASE(
    "dequantize: a config that is no JSON is refused, a sound one loses quantization_config") {
  auto c = checkpoint_of({"a.weight"});
  c.config = R"({"z":1,"quantization_config":{},"a":2})";
  const auto p = plan_dequantize(c, {});
  REQUIRE(p);
  CHECK(nlohmann::json::parse(p->output.texts.at(0).text) == nlohmann::json{{"z", 1}, {"a", 2}});
  c.config = "{\"x\":" + std::string(100'000, '[');
  CHECK(plan_dequantize(c, {}).error().code == errc::malformed);
}

TEST_CASE("dequantize and compare: very many tensors are planned in time in proportion") {
  const auto names = many_names();
  const auto a = checkpoint_of(names), b = checkpoint_of(names, 2);
  const auto began = std::clock();
  CHECK(plan_dequantize(a, {})->tensors.size() == names.size());
  CHECK(plan_compare(a, b, {})->shards.size() == names.size());
  check_quick(began);
}

TEST_CASE("compare: tensors without a counterpart are marked, others are not") {
  const auto a = checkpoint_of({"same.weight", "gone.weight", "shape.weight", "int"});
  auto b = checkpoint_of({"same.weight", "new.weight", "shape.weight", "int"});
  b.files[0].header.tensors[2].shape = {64, 1};
  b.files[0].header.tensors[3].dtype = "I32";
  const auto p = plan_compare(a, b, {});
  REQUIRE(p);
  std::vector<std::string> unmatched;
  for (const auto& tensor : p->tensors)
    if (tensor.unmatched)
      unmatched.push_back(tensor.name);
  std::ranges::sort(unmatched);
  CHECK(unmatched == std::vector<std::string>{"gone.weight", "new.weight", "shape.weight"});
}
