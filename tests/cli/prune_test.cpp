// viva prune --pattern 2:4 --compressed from outside: each form of metadata with each encoding of
// the kept values, by magnitude and by statistics. dequantize and compare read it back, and have
// the values and errors of the references' own bytes.

#include "tests/cli/program.hpp"

#include "formats/safetensors.hpp"
#include "kernels/convert.hpp"
#include "kernels/metrics.hpp"
#include "tests/formats/statistics_files.hpp"
#include "tests/kernels/golden.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
#include <map>
#include <random>
#include <set>

using namespace viva;
using formats::testing::floats;
using formats::testing::put;
using formats::testing::raw;
using kernels::dtype;
using kernels::testing::planes;
using tests::temporary_folder;

namespace {

constexpr std::uint64_t rows = 200, cols = 512; // the last slab of 64 rows is not whole
constexpr std::int64_t inputs = 4;

struct weight {
  std::string module, stored;
  dtype type;
};

const weight weights[] = {{"model.layers.0.mlp.down_proj", "F32", dtype::f32},
                          {"model.layers.1.mlp.down_proj", "F16", dtype::f16},
                          {"model.layers.2.mlp.down_proj", "BF16", dtype::bf16}};

/// Values of which some are zero and many tie.
kernels::testing::tensor values_of(const weight& of) {
  std::mt19937 random(static_cast<std::uint32_t>(of.stored.size()));
  std::normal_distribution<float> normal;
  std::vector<float> values(rows * cols);
  for (auto& x : values)
    x = random() % 4 == 0 ? static_cast<float>(static_cast<int>(random() % 5) - 2) / 2
                          : normal(random);
  return kernels::testing::make_tensor(values, of.type, rows, cols);
}

/// The mean square of what goes into each column; some of none.
std::vector<float> channels_of(const weight& of) {
  std::mt19937 random(static_cast<std::uint32_t>(of.module.back()));
  std::normal_distribution<float> normal;
  std::vector<float> channels(cols);
  for (auto& each : channels)
    each = random() % 7 == 0 ? 0.0f : std::exp(2 * normal(random));
  return channels;
}

std::string model_in(const temporary_folder& folder) {
  std::vector<formats::tensor_entry> entries;
  std::map<std::string, std::vector<std::byte>> values;
  for (const auto& each : weights) {
    entries.push_back({each.module + ".weight", each.stored, {rows, cols}, 0, 0});
    values[each.module + ".weight"] = values_of(each).bytes;
  }
  auto bytes = formats::lay_header(entries, {{"format", "pt"}});
  for (const auto& entry : entries)
    bytes.append(reinterpret_cast<const char*>(values[entry.name].data()), entry.bytes());
  return put(folder / "model.safetensors", bytes).string();
}

std::string statistics_in(const temporary_folder& folder) {
  std::vector<formats::tensor_entry> entries;
  std::map<std::string, std::string> data;
  for (const auto& each : weights) {
    auto sums = channels_of(each);
    for (auto& sum : sums)
      sum *= inputs; // a power of two, so the means are what they were
    entries.push_back({each.module + ".sum_sq", "F32", {cols}, 0, 0});
    entries.push_back({each.module + ".count", "I64", {}, 0, 0});
    data[each.module + ".sum_sq"] = floats(sums);
    data[each.module + ".count"] = raw(inputs);
  }
  auto bytes = formats::lay_header(entries, {});
  for (const auto& entry : entries)
    bytes += data[entry.name];
  return put(folder / "stats.safetensors", bytes).string();
}

/// What the references make of a weight, decoded.
std::vector<float> expected_of(const weight& of, const std::string& method,
                               std::span<const float> channels) {
  const auto source = values_of(of);
  auto with = kernels::testing::recipe_of(method, of.type);
  with.channels = channels;
  planes made(with, rows, cols);
  std::vector<float> decoded(rows * cols);
  REQUIRE(with.row->encode_reference(with, source.view(), {}, made.pointers()) == viva::status{});
  REQUIRE(with.row->decode_reference(with, rows, cols, {}, std::as_const(made).pointers(),
                                     decoded.data())
          == viva::status{});
  return decoded;
}

/// The tensors of a file of floats, by name.
std::map<std::string, std::vector<float>> tensors_in(const std::string& file) {
  const auto header = formats::read_header(file).value();
  const auto bytes = tests::text_in(file);
  std::map<std::string, std::vector<float>> all;
  for (const auto& each : header.tensors) {
    const auto type = each.dtype == "F32"   ? dtype::f32
                      : each.dtype == "F16" ? dtype::f16
                                            : dtype::bf16;
    auto& values = all[each.name];
    values.resize(each.bytes() / kernels::bytes_of(type));
    kernels::load_f32(reinterpret_cast<const std::byte*>(bytes.data()) + each.begin, type,
                      values.size(), values.data());
  }
  return all;
}

/// SQNR of each tensor as `compare` prints it, which says the method.
std::map<std::string, double> compared(const std::string& source, const std::string& output,
                                       const std::string& method) {
  const auto done = tests::viva({"compare", source, output, "--json", "--isolation", "thread"});
  INFO(done.err);
  REQUIRE(done.code == 0);
  std::map<std::string, double> all;
  const auto document = nlohmann::json::parse(done.out);
  for (const auto& each : document.at("tensors")) {
    CHECK(each.at("method") == method);
    all[each.at("name").get<std::string>()] = each.at("errors").at("sqnr_db").get<double>();
  }
  return all;
}

struct form {
  const char *metadata, *values;
};

void check_form(const temporary_folder& folder, const std::string& source, const std::string& stats,
                const form& of) {
  const auto out = (folder / "out.safetensors").string(), back = (folder / "back").string();
  std::vector<std::string> words{"prune",       source,        "--pattern",     "2:4",
                                 "-o",          out,           "--compressed",  "--metadata",
                                 of.metadata,   "--overwrite", "--shard-bytes", "64KiB",
                                 "--isolation", "thread"};
  std::string method = of.metadata == std::string("cutlass") ? "sparse24-cutlass" : "sparse24";
  if (*of.values != '\0') {
    words.insert(words.end(), {"--values", of.values});
    method += std::string("+") + of.values;
  }
  if (!stats.empty())
    words.insert(words.end(), {"--stats", stats});
  INFO(method << (stats.empty() ? "" : ", by statistics"));
  const auto done = tests::viva(words);
  INFO(done.err);
  REQUIRE(done.code == 0);
  const auto again =
      tests::viva({"dequantize", out, "-o", back, "--overwrite", "--isolation", "thread"});
  INFO(again.err);
  REQUIRE(again.code == 0);
  const auto decoded = tensors_in(back);
  const auto errors = compared(source, out, method);
  REQUIRE(decoded.size() == std::size(weights));
  for (const auto& each : weights) {
    const auto name = each.module + ".weight";
    const auto channels = stats.empty() ? std::vector<float>{} : channels_of(each);
    const auto wanted = expected_of(each, method, channels);
    INFO(name);
    CHECK(decoded.at(name) == wanted); // as numbers: a kept -0 may be +0 by the metadata
    const auto found = kernels::compute_all(values_of(each).view(), wanted.data());
    CHECK(std::abs(errors.at(name) - found.snr_db) < 1e-6);
  }
}

} // namespace

TEST_CASE("prune --compressed: every form of metadata and kept values is read back by dequantize "
          "and compare as the references have it, with statistics and without") {
  const temporary_folder folder;
  const auto source = model_in(folder), stats = statistics_in(folder);
  const form forms[] = {{"bitmask", ""},
                        {"bitmask", "int8"},
                        {"cutlass", ""},
                        {"cutlass", "int8"},
                        {"bitmask", "int4"},
                        {"bitmask", "nf4"},
                        {"bitmask", "nf4-dq"},
                        {"bitmask", "nf4:block=128"},
                        {"bitmask", "int4:group=64:asym:search"}};
  for (std::size_t i = 0; i < std::size(forms); i += tests::sized(1, 4)) {
    check_form(folder, source, "", forms[i]);
    check_form(folder, source, stats, forms[i]);
  }
}

TEST_CASE("prune --compressed: statistics choose other values, and the dense file has the same") {
  const temporary_folder folder;
  const auto source = model_in(folder), stats = statistics_in(folder);
  std::set<std::string> decoded; // of the four files
  for (const bool weighed : {false, true})
    for (const bool compressed : {false, true}) {
      const auto out = (folder / "out.safetensors").string(), back = (folder / "back").string();
      std::vector<std::string> words{"prune", source, "-o", out, "--overwrite"};
      if (compressed)
        words.emplace_back("--compressed");
      if (weighed)
        words.insert(words.end(), {"--stats", stats});
      REQUIRE(tests::viva(words).code == 0);
      if (compressed)
        REQUIRE(tests::viva({"dequantize", out, "-o", back, "--overwrite"}).code == 0);
      std::string bits;
      for (const auto& [name, values] : tensors_in(compressed ? back : out))
        bits += name + floats(values);
      decoded.insert(bits);
      CHECK(decoded.size() == (weighed ? 2u : 1u));
    }
}

TEST_CASE("prune --compressed: values and metadata that do not go together are refused") {
  const temporary_folder folder;
  const auto source = model_in(folder), out = (folder / "out.safetensors").string();
  using words = std::vector<std::string>;
  for (const auto& wrong : {words{"--metadata", "cutlass", "--values", "nf4"},
                            words{"--values", "q8_0"}, words{"--values", "int4:block=64"},
                            words{"--metadata", "dense"}, words{"--pattern", "1:4"}}) {
    words all{"prune", source, "-o", out, "--compressed"};
    all.insert(all.end(), wrong.begin(), wrong.end());
    const auto done = tests::viva(all);
    INFO(wrong.back() << ": " << done.err);
    CHECK(done.code == 2);
    CHECK_FALSE(std::filesystem::exists(out));
  }
  for (const auto& alone : {words{"--values", "int8"}, words{"--metadata", "cutlass"}}) {
    words all{"prune", source, "-o", out};
    all.insert(all.end(), alone.begin(), alone.end());
    const auto done = tests::viva(all);
    CHECK(done.code == 2);
    CHECK(done.err.find("--compressed") != done.err.npos);
  }
}
