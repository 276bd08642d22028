// Jobs whose methods weigh errors by statistics: the three kinds of file, where they say the same,
// give the same bytes; methods that look at none refuse them.

#include "kernels/convert.hpp"
#include "tests/actors/jobs.hpp"
#include "tests/formats/statistics_files.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

using namespace viva;
using namespace viva::tests;
using formats::testing::floats;
using formats::testing::gguf_vector;
using formats::testing::put;
using formats::testing::raw;

namespace {

/// One weight, by the names of both worlds. Experts of a layer lie in one entry of an imatrix.
struct weight {
  std::string module, entry;
  std::uint64_t rows, cols;
};

const std::vector<weight>& weights() {
  static const std::vector<weight> all{
      {"model.layers.0.self_attn.o_proj", "blk.0.attn_output.weight", 48, 128},
      {"model.layers.0.mlp.down_proj", "blk.0.ffn_down.weight", 64, 256},
      {"model.layers.1.mlp.experts.0.down_proj", "blk.1.ffn_down_exps.weight", 32, 128},
      {"model.layers.1.mlp.experts.1.down_proj", "blk.1.ffn_down_exps.weight", 32, 128}};
  return all;
}

fs::path model_in(const temporary_folder& folder) {
  std::vector<formats::tensor_entry> entries;
  for (const auto& each : weights())
    entries.push_back({each.module + ".weight", "BF16", {each.rows, each.cols}, 0, 0});
  auto bytes = formats::lay_header(entries, {{"format", "pt"}});
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, 0.02f);
  for (const auto& entry : entries)
    for (std::uint64_t at = 0; at < entry.bytes(); at += 2)
      bytes += raw(kernels::bf16_from_f32(normal(random)));
  return put(folder / "source.safetensors", bytes);
}

constexpr std::int32_t count = 4; ///< Inputs that the sums are over.

/// Sums of squares of what goes into each column: uneven, some of none.
std::vector<float> sums_of(const weight& of) {
  std::mt19937 random(static_cast<std::uint32_t>(std::hash<std::string>{}(of.module)));
  std::normal_distribution<float> normal;
  std::vector<float> sums(of.cols);
  for (auto& each : sums)
    each = random() % 7 == 0 ? 0.0f : count * std::exp(2 * normal(random));
  return sums;
}

std::string ours() {
  std::vector<formats::tensor_entry> entries;
  for (const auto& each : weights()) {
    entries.push_back({each.module + ".sum_sq", "F32", {each.cols}, 0, 0});
    entries.push_back({each.module + ".count", "I64", {}, 0, 0});
  }
  auto bytes = formats::lay_header(entries, {});
  for (const auto& entry : entries) {
    const auto module = entry.name.substr(0, entry.name.rfind('.'));
    const auto of = std::ranges::find(weights(), module, &weight::module);
    bytes += entry.dtype == "I64" ? raw(std::int64_t{count}) : floats(sums_of(*of));
  }
  return bytes;
}

/// The sums of each entry of an imatrix, its experts one behind the other.
std::map<std::string, std::vector<std::vector<float>>> by_entry() {
  std::map<std::string, std::vector<std::vector<float>>> all;
  for (const auto& each : weights())
    all[each.entry].push_back(sums_of(each));
  return all;
}

std::vector<float> joined(const std::vector<std::vector<float>>& parts) {
  std::vector<float> all;
  for (const auto& part : parts)
    all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::string legacy() {
  auto bytes = raw(static_cast<std::int32_t>(by_entry().size()));
  for (const auto& [name, matrices] : by_entry())
    bytes += formats::testing::legacy_record(name, count, joined(matrices));
  return bytes;
}

std::string gguf() {
  std::vector<gguf_vector> tensors;
  for (const auto& [name, matrices] : by_entry()) {
    const std::uint64_t each = matrices.front().size(), all = matrices.size();
    tensors.push_back({name + ".counts", {1, all}, std::vector<float>(all, float{count})});
    tensors.push_back({name + ".in_sum2", {each, all}, joined(matrices)});
  }
  return formats::testing::gguf_file(tensors);
}

quantize_spec spec_of(const fs::path& source, const fs::path& output, const std::string& method,
                      const fs::path& stats) {
  auto spec = spec_for(source, output, method);
  spec.method = method;
  spec.exclude.clear(); // columns here are whole blocks of all methods
  spec.stats = stats;
  return spec;
}

/// What stands behind the header.
std::string payload(const fs::path& file) {
  const auto header = formats::read_header(file);
  REQUIRE(header);
  return text_of(file).substr(header->tensors.front().begin);
}

} // namespace

TEST_CASE("statistics: both kinds of imatrix and our file give the same bytes, others than none") {
  const temporary_folder folder;
  const auto source = model_in(folder);
  const std::map<std::string, fs::path> kinds{{"ours", put(folder / "a.safetensors", ours())},
                                              {"gguf", put(folder / "a.gguf", gguf())},
                                              {"dat", put(folder / "a.dat", legacy())}};
  int made = 0;
  for (const std::string method :
       {"q4_0", "q4_1", "q5_0", "q5_1", "int4:search", "int4:group=32:asym:search",
        "nvfp4-four-or-six", "awq:group=64", "awq:no-scale", "sparse24", "sparse24-dense",
        "sparse24-cutlass+int8", "sparse24+int4:group=64"}) {
    INFO(method);
    const auto out = [&](const std::string& kind) {
      return folder / (std::to_string(made) + "-" + kind);
    };
    must(run_quantize(spec_of(source, out("none"), method, {})));
    for (const auto& [kind, stats] : kinds)
      must(run_quantize(spec_of(source, out(kind), method, stats)));
    CHECK((payload(out("ours")) != payload(out("none")))); // no bytes in a message
    const auto same = [&](const std::string& kind) {
      return text_of(out(kind)) == text_of(out("ours"));
    };
    CHECK(same("gguf"));
    CHECK(same("dat"));
    ++made;
  }
}

TEST_CASE("statistics: a prune weighed by an imatrix keeps other values, of either kind the same") {
  const temporary_folder folder;
  const auto source = model_in(folder);
  const auto pruned = [&](const std::string& name, const fs::path& stats) {
    auto spec = spec_of(source, folder / name, "sparse24-dense", stats);
    spec.job = "prune";
    must(run_quantize(spec));
    return payload(spec.output);
  };
  const auto plain = pruned("plain", {});
  const auto weighed = pruned("weighed", put(folder / "a.dat", legacy()));
  CHECK((plain != weighed));
  CHECK((weighed == pruned("again", put(folder / "a.gguf", gguf()))));
}

TEST_CASE("statistics: a method that does not look at them refuses them, before any work") {
  const temporary_folder folder;
  const auto source = model_in(folder);
  const auto stats = put(folder / "inputs.dat", legacy());
  const std::set<std::string_view> looking{"awq",  "nvfp4-four-or-six", "q4_0", "q4_1",
                                           "q5_0", "q5_1"};
  std::vector<std::string> refused{"int4:group=32", "int4:asym", "awq:rtn",
                                   "awq:no-clip:no-scale"};
  for (const auto& method : kernels::methods())
    if (!looking.contains(method.name) && !method.name.starts_with("sparse24"))
      refused.emplace_back(method.name);
  for (const auto& method : refused) {
    INFO(method);
    const auto done = run_quantize(spec_of(source, folder / "out", method, stats));
    REQUIRE_FALSE(done);
    INFO(done.error().text);
    CHECK(done.error().code == errc::bad_option);
    for (const auto& part : {std::string("inputs.dat"), "method " + method,
                             std::string("leave --stats out"), std::string("int4:search")})
      CHECK(done.error().text.find(part) != std::string::npos);
    CHECK_FALSE(fs::exists(folder / "out"));
    CHECK_FALSE(fs::exists(folder / "out.partial"));
  }
  auto mixed = spec_of(source, folder / "mixed", "nf4-f16", stats); // one of them looks
  mixed.rules = {{"o_proj", "q4_0"}};
  CHECK(run_quantize(mixed).has_value());
}
