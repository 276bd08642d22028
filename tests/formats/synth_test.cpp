#include "tests/formats/files.hpp"
#include "tests/support/catch.hpp"

#include "formats/checkpoint.hpp"
#include "formats/layout.hpp"
#include "formats/synth.hpp"
#include "formats/synth_model.hpp"
#include "formats/synth_values.hpp"
#include "kernels/convert.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <utility>

#include <sys/resource.h>

using namespace viva;
using namespace viva::formats;
using namespace viva::formats::testing;

namespace {

synth_options small(const std::filesystem::path& output) {
  synth_options options;
  options.output = output;
  options.bytes = 3 << 20;
  return options;
}

/// Every file of a folder by name.
std::map<std::string, std::string> content(const std::filesystem::path& folder) {
  std::map<std::string, std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    all[entry.path().filename().string()] = get(entry.path());
  return all;
}

std::vector<float> values_of(const synth_tensor& tensor, bool outliers) {
  const row_source source(tensor, 3, 5, outliers);
  std::vector<std::byte> bytes(source.rows() * source.row_bytes());
  source.fill(0, source.rows(), bytes.data());
  std::vector<float> values(bytes.size() / 2);
  kernels::load_f32_reference(bytes.data(), kernels::dtype::bf16, values.size(), values.data());
  return values;
}

bool exits_as_output(errc code) {
  return code == errc::disk_full || code == errc::cannot_write;
}

synth_tensor matrix_of(std::uint64_t rows, std::uint64_t cols) {
  synth_tensor made;
  made.entry = tensor("a.weight", "BF16", {rows, cols});
  made.deviation = 0.02f;
  return made;
}

} // namespace

TEST_CASE("synth: from 1 MiB to 1 TiB a model has the asked size within 2 %") {
  for (std::uint64_t bytes = 1 << 20; bytes <= 1ull << 40; bytes += bytes / 7)
    for (const std::uint64_t width : {2, 4}) {
      const auto model = shape_for(bytes / width);
      INFO(bytes << " bytes: hidden " << model.hidden << ", layers " << model.layers
                 << ", intermediate " << model.intermediate << ", words " << model.vocabulary);
      const auto made = static_cast<double>(model.parameters() * width);
      CHECK(std::abs(made / static_cast<double>(bytes) - 1) < 0.02);
      CHECK(model.heads * model.head_values == model.hidden);
      CHECK(model.heads % model.kv_heads == 0);
      CHECK(model.intermediate % 32 == 0);
      CHECK(model.layers >= 1);
    }
}

TEST_CASE(
    "synth: the folder is a checkpoint that opens, of the asked size, with a llama's config") {
  const temporary_folder folder;
  for (const std::uint32_t shards : {1u, 3u}) {
    auto options = small(folder / std::to_string(shards));
    options.shards = shards;
    std::uint64_t last = 0, total = 0;
    REQUIRE(synthesize(options, [&](std::uint64_t done, std::uint64_t all) {
      CHECK(done >= last);
      last = done;
      total = all;
    }));
    CHECK(last == total);
    const auto c = open_checkpoint(options.output);
    REQUIRE(c);
    CHECK(c->files.size() == shards);
    CHECK(c->index.empty() == (shards == 1));
    std::uint64_t bytes = 0;
    std::size_t linear = 0;
    for (const auto& file : c->files) {
      CHECK(file.header.metadata.at("format") == "pt");
      for (const auto& entry : file.header.tensors) {
        bytes += entry.bytes();
        linear += quantizable(entry) ? 1u : 0u;
      }
    }
    CHECK(bytes == total);
    CHECK(std::abs(static_cast<double>(bytes) / (3 << 20) - 1) < 0.02);
    const auto config = nlohmann::json::parse(c->config);
    CHECK(config.at("architectures").at(0) == "LlamaForCausalLM");
    CHECK(config.at("model_type") == "llama");
    CHECK(linear == 7 * config.at("num_hidden_layers").get<std::size_t>());
    for (const auto& [name, text] : content(options.output))
      CHECK_FALSE(has(name, ".partial"));
  }
}

TEST_CASE("synth: the same seed gives the same bytes, another seed others") {
  const temporary_folder folder;
  auto options = small(folder / "a");
  REQUIRE(synthesize(options, {}));
  options.output = folder / "b";
  REQUIRE(synthesize(options, {}));
  const auto a = content(folder / "a");
  CHECK(a == content(folder / "b"));
  options.seed = 1;
  options.overwrite = true;
  REQUIRE(synthesize(options, {}));
  const auto other = content(folder / "b");
  CHECK(other.at("model.safetensors") != a.at("model.safetensors"));
  CHECK(other.at("config.json") == a.at("config.json"));
}

TEST_CASE("synth: sharding moves tensors and does not change them") {
  const temporary_folder folder;
  auto options = small(folder / "whole");
  REQUIRE(synthesize(options, {}));
  options.output = folder / "cut";
  options.shards = 4;
  REQUIRE(synthesize(options, {}));
  const auto tensors = [](const std::filesystem::path& path) {
    std::map<std::string, std::string> all;
    const auto c = open_checkpoint(path).value();
    for (const auto& file : c.files) {
      const auto bytes = get(file.path);
      for (const auto& entry : file.header.tensors)
        all[entry.name] = bytes.substr(entry.begin, entry.bytes());
    }
    return all;
  };
  CHECK(tensors(folder / "whole") == tensors(folder / "cut"));
}

TEST_CASE("synth: rows come out the same alone and together") {
  const row_source source(matrix_of(64, 37), 1, 2, true);
  std::vector<std::byte> all(64 * source.row_bytes()), one(source.row_bytes());
  source.fill(0, 64, all.data());
  for (std::uint64_t row = 0; row < 64; ++row) {
    source.fill(row, 1, one.data());
    CHECK(std::equal(one.begin(), one.end(),
                     all.begin() + static_cast<std::ptrdiff_t>(row * source.row_bytes())));
  }
}

TEST_CASE("synth: weights are near-normal, of the asked deviation, with some heavy rows") {
  const auto values = values_of(matrix_of(2048, 1024), false);
  double sum = 0, square = 0;
  for (const double x : values)
    sum += x, square += x * x;
  const auto count = static_cast<double>(values.size());
  CHECK(std::abs(sum / count) < 1e-4);
  CHECK(std::sqrt(square / count) == Approx(0.0206).epsilon(0.03)); // rows spread by 25 %
  std::size_t heavy = 0; // rows whose kurtosis is far from a normal's 3
  for (std::size_t row = 0; row < 2048; ++row) {
    double second = 0, fourth = 0;
    for (std::size_t i = row * 1024; i < (row + 1) * 1024; ++i) {
      const double x2 = static_cast<double>(values[i]) * values[i];
      second += x2 / 1024, fourth += x2 * x2 / 1024;
    }
    heavy += fourth / (second * second) > 4.5 ? 1u : 0u;
  }
  CHECK(heavy > 2048 / 16 / 2);
  CHECK(heavy < 2048 / 16 * 2);
}

TEST_CASE("synth: outlier channels stand out by their column, and only on request") {
  const auto plain = values_of(matrix_of(256, 1024), false);
  const auto with = values_of(matrix_of(256, 1024), true);
  std::size_t loud = 0;
  for (std::size_t column = 0; column < 1024; ++column) {
    double before = 0, after = 0;
    for (std::size_t row = 0; row < 256; ++row) {
      before += std::abs(plain[row * 1024 + column]);
      after += std::abs(with[row * 1024 + column]);
    }
    CHECK((after == before || after > 7 * before));
    loud += after > 7 * before ? 1u : 0u;
  }
  CHECK(loud >= 4);
  CHECK(loud <= 5);
}

TEST_CASE("synth: options out of range and outputs in the way are refused") {
  const temporary_folder folder;
  const auto refused = [](const synth_options& options) {
    const auto done = synthesize(options, {});
    REQUIRE_FALSE(done);
    INFO(done.error().text);
    return done.error().code;
  };
  auto options = small(folder / "x");
  options.bytes = 1000;
  CHECK(refused(options) == errc::bad_option);
  options = small(folder / "x");
  options.shards = 0;
  CHECK(refused(options) == errc::bad_option);
  options.shards = 1000;
  CHECK(refused(options) == errc::bad_option);
  CHECK_FALSE(std::filesystem::exists(folder / "x"));

  put(folder / "full/notes.txt", "mine");
  CHECK(refused(small(folder / "full")) == errc::output_exists);
  CHECK(content(folder / "full").size() == 1);
  put(folder / "file", "mine");
  CHECK(refused(small(folder / "file")) == errc::cannot_write);
  CHECK(refused(small(folder / "file/below")) == errc::cannot_write);
  CHECK(get(folder / "file") == "mine");
}

TEST_CASE("synth: overwriting leaves no weights of the checkpoint before, and other files alone") {
  const temporary_folder folder;
  auto options = small(folder / "x");
  options.shards = 3;
  REQUIRE(synthesize(options, {}));
  put(folder / "x/notes.txt", "mine");
  options.shards = 1;
  options.overwrite = true;
  REQUIRE(synthesize(options, {}));
  const auto files = content(folder / "x");
  CHECK(files.size() == 4);
  CHECK(files.contains("model.safetensors"));
  CHECK(files.at("notes.txt") == "mine");
  CHECK(open_checkpoint(options.output));
}

TEST_CASE("synth: a file that cannot be made is an error, and nothing is left behind") {
  const temporary_folder folder;
  std::filesystem::create_directories(folder / "x/model.safetensors.partial");
  auto options = small(folder / "x");
  options.overwrite = true;
  const auto done = synthesize(options, {});
  REQUIRE_FALSE(done);
  CHECK(done.error().code == errc::cannot_write);
  std::filesystem::directory_iterator left(folder / "x");
  CHECK(left->path().filename() == "model.safetensors.partial"); // the obstacle, and nothing else
  CHECK(++left == std::filesystem::directory_iterator());
}

TEST_CASE("synth: what a killed run left is taken up, what anybody else left is not") {
  const temporary_folder folder;
  REQUIRE(synthesize(small(folder / "undisturbed"), {}));
  for (const char* name : {"model.safetensors.partial", "model-00001-of-00002.safetensors.partial",
                           "config.json.partial"})
    put(folder / "x" / name, "half");
  REQUIRE(synthesize(small(folder / "x"), {}));
  CHECK(content(folder / "x") == content(folder / "undisturbed"));
  put(folder / "y/model.safetensors.partial", "half");
  put(folder / "y/thesis.partial", "mine");
  CHECK(synthesize(small(folder / "y"), {}).error().code == errc::output_exists);
  CHECK(content(folder / "y").size() == 2);
}

TEST_CASE("synth: interrupted, it leaves neither files nor the folders it made") {
  const temporary_folder folder;
  std::atomic<bool> interrupted{false};
  auto options = small(folder / "a/b/c");
  options.bytes = 64 << 20;
  std::uint64_t seen = 0;
  const auto stop = [&](std::uint64_t done, std::uint64_t) {
    seen = done;
    interrupted = true;
  };
  const auto stopped = synthesize(options, stop, &interrupted);
  REQUIRE_FALSE(stopped);
  CHECK(stopped.error().code == errc::interrupted);
  CHECK(seen > 0);
  CHECK(seen < options.bytes / 2);
  CHECK_FALSE(std::filesystem::exists(folder / "a"));
  std::filesystem::create_directory(folder / "mine");
  options.output = folder / "mine";
  CHECK_FALSE(synthesize(options, stop, &interrupted));
  CHECK(std::filesystem::is_empty(folder / "mine")); // made by another, so it stays
}

TEST_CASE("synth: a disk that is full leaves no folder") {
  const temporary_folder folder;
  auto options = small(folder / "x");
  options.bytes = 4ull << 40; // no place has so much; reserving it says so before any value
  rlimit unlimited{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &unlimited) == 0);
  const rlimit low{1 << 20, unlimited.rlim_max};
  std::signal(SIGXFSZ, SIG_IGN);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &low) == 0); // EFBIG even where the disk is large
  const auto done = synthesize(options, {});
  ::setrlimit(RLIMIT_FSIZE, &unlimited);
  REQUIRE_FALSE(done);
  INFO(done.error().text);
  CHECK(exits_as_output(done.error().code));
  CHECK_FALSE(std::filesystem::exists(options.output));
}

TEST_CASE("synth: two runs into one folder do not mix") {
  const temporary_folder folder;
  auto options = small(folder / "x");
  expected<void> other;
  bool asked = false;
  REQUIRE(synthesize(options, [&](std::uint64_t, std::uint64_t) {
    if (!std::exchange(asked, true))
      other = synthesize(options, {});
  }));
  REQUIRE_FALSE(other);
  CHECK(other.error().code == errc::output_exists);
  CHECK(has(other.error().text, "another process"));
  CHECK(open_checkpoint(options.output));
}
