// `viva attention` from outside: beside a plain computation in double, and what it refuses.

#include "tests/cli/program.hpp"

#include "kernels/scalar.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstring>
#include <random>

#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>

using namespace viva;
using formats::testing::put;
using formats::testing::tensor;
using tests::temporary_folder;
using tests::text_in;
namespace fs = std::filesystem;

namespace {

using words = std::vector<std::string>;
using doubles = std::vector<double>;

struct sizes {
  std::size_t heads, kv_heads, queries, keys, width;
  bool causal = false;
  long window = 0;
};

/// q, k and v of a file; values are those that the file's type holds, rows beside heads.
struct made {
  sizes of;
  doubles q, k, v;
  std::string file;

  made(const sizes& as, kernels::dtype type, bool flat) : of(as) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    const bool half = type == kernels::dtype::bf16;
    const auto shape = [&](std::size_t heads, std::size_t rows) {
      return flat ? std::vector<std::uint64_t>{rows, heads * of.width}
                  : std::vector<std::uint64_t>{heads, rows, of.width};
    };
    std::vector<formats::tensor_entry> entries;
    for (const char* name : {"q", "k", "v"})
      entries.push_back(tensor(name, half ? "BF16" : "F32",
                               *name == 'q' ? shape(of.heads, of.queries)
                                            : shape(of.kv_heads, of.keys)));
    file = formats::lay_header(entries, {});
    for (const auto& entry : entries) {
      const std::size_t heads = entry.name == "q" ? of.heads : of.kv_heads;
      const std::size_t rows = entry.name == "q" ? of.queries : of.keys;
      auto& values = entry.name == "q" ? q : entry.name == "k" ? k : v;
      values.resize(heads * rows * of.width);
      const std::size_t size = kernels::bytes_of(type);
      std::string bytes(values.size() * size, '\0');
      for (std::size_t i = 0; i < values.size(); ++i) {
        const float x = normal(random);
        auto* to = reinterpret_cast<std::byte*>(bytes.data()) + i * size;
        const std::size_t row = i / of.width;
        const std::size_t at = flat ? (row % heads * rows + row / heads) : row;
        if (half) {
          const auto bits = kernels::bf16_from_f32(x);
          std::memcpy(to, &bits, size);
          values[at * of.width + i % of.width] = kernels::f32_from_bf16(bits);
        } else {
          std::memcpy(to, &x, size);
          values[at * of.width + i % of.width] = x;
        }
      }
      file += bytes;
    }
  }

  /// out as (heads, queries, width), then the logarithms.
  std::pair<doubles, doubles> truth() const {
    doubles out(of.heads * of.queries * of.width), lse;
    for (std::size_t h = 0; h < of.heads; ++h)
      for (std::size_t i = 0; i < of.queries; ++i) {
        const double* query = &q[(h * of.queries + i) * of.width];
        const std::size_t first = h * of.kv_heads / of.heads * of.keys;
        double* to = &out[(h * of.queries + i) * of.width];
        double sum = 0;
        for (std::size_t j = 0; j < of.keys; ++j) {
          const long apart = static_cast<long>(i + of.keys - of.queries) - static_cast<long>(j);
          if ((of.causal && apart < 0) || (of.window != 0 && std::abs(apart) >= of.window))
            continue;
          double score = 0;
          for (std::size_t c = 0; c < of.width; ++c)
            score += query[c] * k[(first + j) * of.width + c];
          const double weight = std::exp(score / std::sqrt(static_cast<double>(of.width)));
          sum += weight;
          for (std::size_t c = 0; c < of.width; ++c)
            to[c] += weight * v[(first + j) * of.width + c];
        }
        for (std::size_t c = 0; c < of.width; ++c)
          to[c] /= sum;
        lse.push_back(std::log(sum));
      }
    return {out, lse};
  }
};

doubles values_in(const fs::path& path, const std::string& name) {
  const auto header = formats::read_header(path);
  REQUIRE(header.has_value());
  const auto entry =
      std::ranges::find(header->tensors, name, &formats::tensor_entry::name);
  REQUIRE(entry != header->tensors.end());
  const auto bytes = text_in(path).substr(entry->begin, entry->bytes());
  const auto type = entry->dtype == "F32" ? kernels::dtype::f32 : kernels::dtype::bf16;
  std::vector<float> values(bytes.size() / kernels::bytes_of(type));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto* at = bytes.data() + i * kernels::bytes_of(type);
    std::uint16_t bits = 0;
    if (type == kernels::dtype::f32) {
      std::memcpy(&values[i], at, sizeof(float));
    } else {
      std::memcpy(&bits, at, sizeof bits);
      values[i] = kernels::f32_from_bf16(bits);
    }
  }
  return {values.begin(), values.end()};
}

/// The norm of the difference to the norm of the truth.
double apart(const doubles& got, const doubles& truth) {
  REQUIRE(got.size() == truth.size());
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    error += (got[i] - truth[i]) * (got[i] - truth[i]);
    norm += truth[i] * truth[i];
  }
  return std::sqrt(error / norm);
}

words attention(const fs::path& source, const fs::path& output, words more) {
  words all{"attention", source.string(), "-o", output.string()};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

} // namespace

TEST_CASE("attention: the command's output is the truth, the same bytes for one lane and two") {
  const temporary_folder folder;
  const auto source = folder / "qkv.safetensors";
  for (const auto type : {kernels::dtype::f32, kernels::dtype::bf16})
    for (const auto& of : {sizes{4, 2, 150, 150, 64, true}, sizes{4, 4, 1, 9000, 40},
                           sizes{2, 1, 70, 333, 32, true, 50}, sizes{3, 3, 40, 40, 128}}) {
      const made problem(of, type, false);
      put(source, problem.file);
      words flags{"--json"};
      if (of.causal)
        flags.emplace_back("--causal");
      if (of.window != 0)
        flags.insert(flags.end(), {"--window", std::to_string(of.window)});
      std::string files[2];
      for (const int lanes : {1, 2}) {
        const auto output = folder / ("out" + std::to_string(lanes));
        auto with = flags;
        with.insert(with.end(), {"--lanes", std::to_string(lanes), "--overwrite"});
        const auto done = tests::viva(attention(source, output, with));
        INFO(done.err << done.out);
        REQUIRE(done.code == 0);
        const auto document = nlohmann::json::parse(done.out);
        CHECK(document.at("kv_heads") == of.kv_heads);
        CHECK(document.at("lanes") == lanes);
        files[lanes - 1] = text_in(output);
      }
      CHECK((files[0] == files[1])); // no megabytes in a message
      const auto [out, lse] = problem.truth();
      const bool half = type == kernels::dtype::bf16;
      CHECK(apart(values_in(folder / "out1", "out"), out) < (half ? 3e-3 : 2e-6));
      CHECK(apart(values_in(folder / "out1", "lse"), lse) < (half ? 1e-4 : 2e-6));
    }
}

TEST_CASE("attention: heads beside each other are told by --heads and --kv-heads") {
  const temporary_folder folder;
  const sizes of{4, 2, 33, 33, 32, true};
  const auto flat = put(folder / "flat", made(of, kernels::dtype::f32, true).file);
  const auto output = folder / "out";
  const auto done = tests::viva(
      attention(flat, output, {"--heads", "4", "--kv-heads", "2", "--causal"}));
  INFO(done.err);
  REQUIRE(done.code == 0);
  const auto turned = values_in(output, "out");
  doubles out(turned.size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t row = i / of.width;
    out[(row % 4 * 33 + row / 4) * of.width + i % of.width] = turned[i];
  }
  CHECK(apart(out, made(of, kernels::dtype::f32, true).truth().first) < 2e-6);
}

TEST_CASE("attention: what cannot be is refused by name and exit code, and nothing is left") {
  const temporary_folder folder;
  const sizes of{4, 2, 9, 9, 32};
  const auto flat = put(folder / "flat", made(of, kernels::dtype::f32, true).file);
  const auto deep = put(folder / "deep", made(of, kernels::dtype::f32, false).file);
  const auto torn = put(folder / "torn", text_in(deep).substr(0, 300));
  const auto other =
      put(folder / "other", formats::testing::file_of({tensor("q", "F32", {9, 64})}));
  struct refusal {
    fs::path source;
    words flags;
    int code;
    std::string says;
  };
  for (const auto& [source, flags, code, says] : std::vector<refusal>{
           {flat, {}, 2, "--heads"},
           {flat, {"--heads", "3"}, 2, "q: has 128 columns"},
           {flat, {"--heads", "0"}, 2, "--heads"},
           {flat, {"--heads", "4", "--kv-heads", "4"}, 3, "do not fit"},
           {deep, {"--window", "-3"}, 2, "--window"}, {deep, {"--window", "0"}, 2, "--window"},
           {flat, {"--heads", "-1"}, 2, "--heads"},
           {flat, {"--heads", "4", "--kv-heads", "-2"}, 2, "--kv-heads"},
           {deep, {"--window", "9223372036854775807"}, 2, "--window"},
           {deep, {"--scale", "inf"}, 2, "--scale"}, {deep, {"--scale", "nan"}, 2, "--scale"},
           {deep, {"--scale", "0"}, 2, "--scale"}, {deep, {"--scale", "-1"}, 2, "--scale"},
           {deep, {"--heads", "8"}, 2, "q: has 4 heads"},
           {deep, {"--heads", "4", "--kv-heads", "4"}, 2, "k: has 2 heads"},
           {other, {"--heads", "1"}, 3, "k: is missing"},
           {torn, {}, 3, "torn"},
           {folder / "nothing", {}, 3, "nothing"}}) {
    const auto done = tests::viva(attention(source, folder / "out", flags));
    INFO(source << " exit " << done.code << ": " << done.err);
    CHECK(done.code == code);
    CHECK(done.out.empty());
    CHECK(done.err.find(says) != std::string::npos);
    for (const auto& each : fs::directory_iterator(folder.path()))
      CHECK_FALSE(each.path().filename().string().starts_with("out"));
  }
}

TEST_CASE("attention: k and v that viva quantize wrote give what their decoded values give") {
  const temporary_folder folder;
  const sizes of{4, 2, 40, 300, 64, true};
  auto text = made(of, kernels::dtype::f32, true).file;
  const auto header = formats::read_header(put(folder / "plain", text));
  REQUIRE(header.has_value());
  std::vector<formats::tensor_entry> entries;
  std::string values;
  for (const char* name : {"q", "k", "v"}) {
    const auto at = std::ranges::find(header->tensors, name, &formats::tensor_entry::name);
    entries.push_back(tensor(*name == 'q' ? "q" : name + std::string(".weight"), "F32", at->shape));
  }
  const auto named = formats::lay_header(entries, {});
  for (const auto& entry : entries) {
    const auto at = std::ranges::find(header->tensors, entry.name.substr(0, 1),
                                      &formats::tensor_entry::name);
    values += text.substr(at->begin, at->bytes());
  }
  const auto source = put(folder / "source.safetensors", named + values);
  const words heads{"--heads", "4", "--kv-heads", "2", "--causal", "--overwrite"};
  const auto output_of = [&](const fs::path& file) {
    auto with = heads;
    with.emplace_back("--json");
    const auto done = tests::viva(attention(file, folder / "out", with));
    INFO(done.err);
    REQUIRE(done.code == 0);
    return std::pair{text_in(folder / "out"),
                     nlohmann::json::parse(done.out).at("k_method").get<std::string>()};
  };
  const auto exact = output_of(source);
  CHECK(exact.second.empty());
  for (const std::string method : {"q8_0", "int8", "fp8", "nf4"}) {
    INFO(method);
    const auto small = folder / (method + ".safetensors"), back = folder / (method + "-back");
    for (const auto& command :
         {words{"quantize", source.string(), "-o", small.string(), "-m", method},
          words{"dequantize", small.string(), "-o", back.string()}})
      REQUIRE(tests::viva(command).code == 0);
    const auto compressed = output_of(small);
    CHECK(compressed.second == method);
    CHECK((compressed.first == output_of(back).first));
    CHECK((compressed.first != exact.first));
  }
  // In bitsandbytes' layout the scales are f32: one that is NaN.
  auto bytes = text_in(folder / "nf4.safetensors");
  const auto small = formats::read_header(folder / "nf4.safetensors");
  const auto absmax =
      std::ranges::find(small->tensors, "k.weight.absmax", &formats::tensor_entry::name);
  REQUIRE(absmax != small->tensors.end());
  bytes.replace(absmax->begin, 4, 4, '\xFF');
  const auto bad = put(folder / "bad.safetensors", bytes);
  const auto done = tests::viva(attention(bad, folder / "none", heads));
  INFO(done.err);
  CHECK(done.code == 3);
  CHECK(done.err.find("k.weight: has bytes in rows 0 to") != std::string::npos);
  CHECK_FALSE(fs::exists(folder / "none"));
}

TEST_CASE("attention: NaN and infinity are refused with tensor and first place, or kept") {
  const temporary_folder folder;
  const sizes of{2, 1, 30, 50, 32, true};
  const made whole(of, kernels::dtype::f32, false);
  const auto header = formats::read_header(put(folder / "whole", whole.file));
  for (const auto& [name, row, says] :
       {std::tuple{"q", 35, "q: has NaN or infinity at [35, 3]"},
        std::tuple{"k", 47, "k: has NaN or infinity at [47, 3]"},
        std::tuple{"v", 49, "v: has NaN or infinity at [49, 3]"}}) {
    auto bytes = whole.file;
    const auto at = std::ranges::find(header->tensors, name, &formats::tensor_entry::name);
    const auto place = at->begin + (static_cast<std::size_t>(row) * of.width + 3) * sizeof(float);
    const float bad = *name == 'v' ? INFINITY : NAN;
    std::memcpy(bytes.data() + place, &bad, sizeof bad);
    const auto source = put(folder / "source", bytes);
    const auto refused = tests::viva(attention(source, folder / "out", {"--causal"}));
    INFO(refused.err);
    CHECK(refused.code == 3);
    CHECK(refused.err.find(says) != std::string::npos);
    for (const auto& each : fs::directory_iterator(folder.path()))
      CHECK_FALSE(each.path().filename().string().starts_with("out"));
    const auto kept = tests::viva(
        attention(source, folder / "kept", {"--causal", "--on-nan", "keep", "--overwrite"}));
    INFO(kept.err);
    REQUIRE(kept.code == 0);
    const auto out = values_in(folder / "kept", "out");
    const auto numbers = [&](std::size_t head, std::size_t query) {
      const auto* first = &out[(head * of.queries + query) * of.width];
      return std::all_of(first, first + of.width, [](double x) { return std::isfinite(x); });
    };
    if (*name != 'v') { // an infinity that is hidden in v may show, or not: 0 times it is no number
      CHECK(numbers(1, 4));
      CHECK(numbers(1, 5) == (*name == 'k')); // query 5 of head 1 is row 35 of q
    }
    CHECK(numbers(0, 29) == (*name == 'q')); // sees every key
  }
}

TEST_CASE("attention: --overwrite onto a folder or a pipe is refused before the work") {
  const temporary_folder folder;
  const auto source =
      put(folder / "qkv.safetensors", made({1, 1, 9, 9, 32}, kernels::dtype::f32, false).file);
  fs::create_directory(folder / "model");
  put(folder / "model" / "model.safetensors", text_in(source));
  REQUIRE(::mkfifo((folder / "queue").c_str(), 0600) == 0);
  for (const auto& [name, says] : {std::pair{"model", "is a folder"},
                                   std::pair{"queue", "is neither a file nor a folder"}}) {
    const auto done = tests::viva(attention(source, folder / name, {"--overwrite"}));
    INFO(done.err);
    CHECK(done.code == 2);
    CHECK(done.err.find(says) != std::string::npos);
  }
  CHECK(fs::exists(folder / "model" / "model.safetensors"));
  CHECK(fs::is_fifo(folder / "queue"));
}

TEST_CASE("attention: Ctrl-C ends it with 130 and leaves nothing") {
  const temporary_folder folder;
  const auto source = // seconds of work for one lane
      put(folder / "qkv", made({16, 16, 8192, 8192, 64}, kernels::dtype::f32, false).file);
  const auto output = folder / "out";
  const auto child = tests::start_viva(attention(source, output, {"--lanes", "1"}), -1, -1);
  for (int i = 0; i < 6'000 && !fs::exists(folder / "out.journal"); ++i)
    ::poll(nullptr, 0, 10); // until its claim, which comes before the work
  ::kill(child, SIGINT);
  CHECK(tests::wait_for(child) == 130);
  for (const std::string left : {"out", "out.partial", "out.journal"})
    CHECK_FALSE(fs::exists(folder / left));
}

TEST_CASE("attention: a run killed while it writes is started over by the same command") {
  const temporary_folder folder;
  const auto source =
      put(folder / "qkv", made({2, 2, 200, 200, 64}, kernels::dtype::f32, false).file);
  const auto output = folder / "out", partial = folder / "out.partial";
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
  rlimit small = before;
  small.rlim_cur = 4096; // the signal that a longer write raises ends the program
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const words threads{"--isolation", "thread"}; // the limit is of shared memory's files, too
  const auto child = tests::start_viva(attention(source, output, threads), -1, -1);
  ::setrlimit(RLIMIT_FSIZE, &before);
  CHECK(tests::wait_for(child) == 128 + SIGXFSZ);
  REQUIRE(fs::exists(partial));
  const auto done = tests::viva(attention(source, output, threads));
  INFO(done.err);
  CHECK(done.code == 0);
  CHECK(fs::exists(output));
  CHECK_FALSE(fs::exists(partial));
  CHECK_FALSE(fs::exists(folder / "out.journal"));
  put(partial, "a stranger's");
  const auto again = tests::viva(attention(source, output, {"--overwrite"}));
  CHECK(again.code == 2);
  CHECK(again.err.find("out.partial") != std::string::npos);
  CHECK(text_in(partial) == "a stranger's");
}
