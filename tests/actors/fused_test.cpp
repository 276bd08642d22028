#include "formats/encoded.hpp"
#include "formats/fused.hpp"
#include "tests/actors/jobs.hpp"

#include <set>

using namespace viva;
using namespace viva::tests;

namespace {

struct layer {
  std::set<std::string> scales; ///< The bytes of its weights' scales of the tensor.
  std::set<std::uint32_t> files;
};

/// The fused layers of an output whose weights have their tensor's scale in this plane.
std::map<std::string, layer> layers_of(const fs::path& output, std::size_t plane,
                                       std::size_t bytes) {
  const auto c = formats::open_checkpoint(output).value();
  std::map<std::string, layer> layers;
  const auto weights = formats::read_logical(c);
  REQUIRE(weights);
  for (const auto& weight : *weights) {
    const auto name = formats::fused_layer(weight.name);
    if (name.empty() || !weight.recipe)
      continue;
    const auto file = text_of(c.files[weight.file].path);
    layers[name].scales.insert(file.substr(weight.planes[plane], bytes));
    layers[name].files.insert(weight.file);
  }
  return layers;
}

} // namespace

TEST_CASE("quantize: fused layers share the scale of the tensor, in whatever files they lie") {
  const temporary_folder folder;
  const auto source = synthesized(folder, 7);
  for (const auto& [method, plane, bytes] :
       {std::tuple{"nvfp4", 2u, 4u}, {"nvfp4-four-or-six", 2u, 4u}, {"fp8-tensor", 1u, 2u}}) {
    CAPTURE(method);
    const auto spec = spec_for(source, folder / method, method);
    must(run_quantize(spec));
    std::set<std::string> all;
    bool crosses = false;
    for (const auto& [name, found] : layers_of(spec.output, plane, bytes)) {
      CAPTURE(name);
      CHECK(found.scales.size() == 1);
      all.insert(found.scales.begin(), found.scales.end());
      crosses = crosses || found.files.size() > 1;
    }
    CHECK(all.size() > 1); // one layer's is not another's
    CHECK(crosses);
  }
}

TEST_CASE("quantize: two methods for one fused layer are refused before any work") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  auto spec = spec_for(source, folder / "out", "fp8");
  spec.rules.emplace_back("k_proj", "fp8-block");
  const auto refused = run_quantize(spec);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::unsupported);
  CHECK(refused.error().text.find(q_proj) != std::string::npos);
  CHECK(refused.error().text.find(k_proj) != std::string::npos);
  CHECK_FALSE(fs::exists(spec.output));
}
