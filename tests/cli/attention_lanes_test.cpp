// `viva attention` on lanes that are threads and on lanes that are processes: the same bytes,
// whoever is killed, and no more memory than was allowed.

#include "tests/cli/program.hpp"

#include "tests/formats/files.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <nlohmann/json.hpp>

#include <bit>
#include <csignal>
#include <random>
#include <sstream>

using namespace viva;
using formats::testing::put;
using formats::testing::tensor;
using tests::comes_true;
using tests::sized;
using tests::temporary_folder;
using tests::text_in;
namespace fs = std::filesystem;

namespace {

using words = std::vector<std::string>;
using dimensions = std::vector<std::uint64_t>;

/// A file of normal values: q of one shape, k and v of the other, in this type.
std::string qkv(const dimensions& q, const dimensions& kv, const char* type = "F32",
                const char* k_name = "k", const char* v_name = "v") {
  std::vector<formats::tensor_entry> entries{tensor("q", type, q), tensor(k_name, type, kv),
                                                   tensor(v_name, type, kv)};
  auto file = formats::lay_header(entries, {});
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const auto& entry : entries)
    for (std::uint64_t at = 0; at < entry.bytes(); at += sizeof(float)) {
      auto bits = std::bit_cast<std::uint32_t>(normal(random));
      if (*type == 'B') // two bf16: the upper half twice
        bits = bits >> 16 | (bits & 0xFFFF0000u);
      file.append(reinterpret_cast<const char*>(&bits), sizeof bits);
    }
  return file;
}

words attention(const fs::path& source, const fs::path& output, words more) {
  words all{"attention", source.string(), "-o", output.string(), "--json", "--overwrite"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

nlohmann::json run(const words& command) {
  const auto done = tests::viva(command);
  INFO(done.err << done.out);
  REQUIRE(done.code == 0);
  return nlohmann::json::parse(done.out);
}

words with(words all, const words& more) {
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

const words by_threads{"--isolation", "thread", "--lanes", "1"};
const words by_processes{"--isolation", "process", "--lanes", "2"};

/// Processor time of a process, in hundredths of a second; 0 once it is gone.
long ticks_of(pid_t who) {
  std::ifstream in("/proc/" + std::to_string(who) + "/stat");
  std::string line;
  std::getline(in, line);
  std::istringstream rest(line.substr(std::min(line.size(), line.rfind(')') + 2)));
  std::string skipped;
  for (int i = 0; i < 11; ++i)
    rest >> skipped;
  long user = 0;
  rest >> user;
  return user;
}

/// The child that has computed the most, once one has computed for 50 ms more than it takes to
/// start; else 0.
pid_t busiest_child(pid_t parent) {
  pid_t found = 0;
  long most = static_cast<long>(sized(4, 50));
  std::error_code gone;
  for (const auto& task :
       fs::directory_iterator("/proc/" + std::to_string(parent) + "/task", gone)) {
    std::ifstream in{task.path() / "children"};
    for (pid_t child = 0; in >> child;)
      if (const auto ticks = ticks_of(child); ticks > most) {
        most = ticks;
        found = child;
      }
  }
  return found;
}

/// Seconds of work for two lanes.
std::string long_problem() {
  const std::uint64_t heads = tests::sized_for_kernels(16, 4);
  // Kernels that are not watched must take longer than lanes that are take to start.
  const std::uint64_t rows = tests::kernels_sanitized ? 1024 : sized(4096, 12288);
  return qkv({heads, rows, 64}, {heads, rows, 64});
}

} // namespace

TEST_CASE("attention lanes: threads and processes write the same bytes, of any type and layout") {
  const temporary_folder folder;
  const auto source = folder / "qkv.safetensors";
  struct layout {
    std::string file;
    words flags;
  };
  for (const auto& [file, flags] : std::vector<layout>{
         {qkv({4, 1, 64}, {2, 9001, 64}), {}},
         {qkv({4, 1, 64}, {2, 9001, 64}, "BF16"), {}},
         {qkv({2, 6, 77, 40}, {2, 3, 131, 40}), {"--causal", "--window", "50"}},
         {qkv({150, 256}, {150, 128}, "BF16"), {"--heads", "4", "--kv-heads", "2", "--causal"}}}) {
    put(source, file);
    for (const auto& how : {by_threads, by_processes}) {
      const auto said
        = run(attention(source, folder / (how == by_threads ? "threads" : "processes"),
                        with(flags, how)));
      CHECK(said.at("isolation") == how[1]);
      CHECK(said.at("tickets_lost") == 0);
    }
    CHECK((text_in(folder / "threads") == text_in(folder / "processes")));
  }
}

TEST_CASE("attention lanes: quantized k and v give processes the bytes of threads") {
  const temporary_folder folder;
  const auto plain = put(folder / "plain.safetensors",
                         qkv({40, 256}, {300, 128}, "F32", "k.weight", "v.weight"));
  for (const std::string method : {"q8_0", "nf4"}) {
    const auto source = folder / (method + ".safetensors");
    REQUIRE(tests::viva({"quantize", plain.string(), "-o", source.string(), "-m", method}).code
            == 0);
    const words heads{"--heads", "4", "--kv-heads", "2"};
    for (const auto& how : {by_threads, by_processes})
      CHECK(run(attention(source, folder / how[1], with(heads, how))).at("k_method") == method);
    CHECK((text_in(folder / "thread") == text_in(folder / "process")));
  }
}

TEST_CASE("attention lanes: one that is killed in the midst of its work changes no byte") {
  const temporary_folder folder;
  const auto source = put(folder / "qkv.safetensors", long_problem());
  run(attention(source, folder / "threads", by_threads));
  const auto out = (folder / "said").string();
  const int said = ::open(out.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const auto parent
    = tests::start_viva(attention(source, folder / "processes", by_processes), said, -1);
  ::close(said);
  pid_t lane = 0;
  CHECK(comes_true([&] { return (lane = busiest_child(parent)) != 0; }));
  REQUIRE(lane != 0);
  ::kill(lane, SIGKILL);
  REQUIRE(tests::wait_for(parent) == 0);
  const auto document = nlohmann::json::parse(text_in(out));
  CHECK(document.at("restarts") >= 1);
  CHECK(document.at("tickets_lost") >= 1);
  CHECK((text_in(folder / "threads") == text_in(folder / "processes")));
}

TEST_CASE("attention lanes: a source that is cut short under processes is named, nothing is left") {
  const temporary_folder folder;
  const auto source = put(folder / "qkv.safetensors", long_problem());
  const auto errors = (folder / "errors").string();
  const int err = ::open(errors.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const auto parent
    = tests::start_viva(attention(source, folder / "out", by_processes), err, err);
  ::close(err);
  CHECK(comes_true([&] { return busiest_child(parent) != 0; }));
  fs::resize_file(source, 4096);
  CHECK(tests::wait_for(parent) == 3);
  const auto text = text_in(errors);
  INFO(text);
  CHECK(text.find("changed or was cut short") != std::string::npos);
  for (const auto& each : fs::directory_iterator(folder.path()))
    CHECK_FALSE(each.path().filename().string().starts_with("out"));
}

// Sparse: of zeros, which no disk has to hold. out and lse are 65 MiB.
TEST_CASE("attention lanes: more memory than --max-memory is refused before the work") {
  const temporary_folder folder;
  std::vector<formats::tensor_entry> entries{tensor("q", "F32", {1, 1 << 18, 64}),
                                                   tensor("k", "F32", {1, 3, 64}),
                                                   tensor("v", "F32", {1, 3, 64})};
  const auto source = put(folder / "qkv", formats::lay_header(entries, {}));
  fs::resize_file(source, fs::file_size(source) + (((1 << 18) + 6) * 64 * sizeof(float)));
  const auto code_of = [&](const words& how, const std::string& limit, const char* says) {
    auto command = attention(source, folder / "out", with(how, {"--max-memory", limit}));
    std::erase(command, "--json");
    const auto done = tests::viva(command);
    INFO(limit << ": " << done.err);
    CHECK(done.err.find(says) != std::string::npos);
    CHECK(fs::exists(folder / "out") == (done.code == 0));
    std::error_code none;
    fs::remove(folder / "out", none);
    return done.code;
  };
  CHECK(code_of(by_threads, "64MiB", "needs 91 MiB beyond the source, more than --max-memory")
        == 2);
  CHECK(code_of(by_processes, "150MiB", "or --isolation thread") == 2);
  if (!tests::sanitized) {
    CHECK(code_of(by_threads, "91MiB", "") == 0);
    CHECK(code_of(by_processes, "166MiB", "") == 0); // the result, and where lanes write it
  }
  // Three ranges of keys: the result, 16.25 MiB, and three parts of as much, each once.
  std::vector<formats::tensor_entry> long_entries{tensor("q", "F32", {1, 1 << 16, 64}),
                                                        tensor("k", "F32", {1, 9000, 64}),
                                                        tensor("v", "F32", {1, 9000, 64})};
  put(source, formats::lay_header(long_entries, {}));
  fs::resize_file(source, fs::file_size(source) + (((1 << 16) + 2 * 9000) * 64 * sizeof(float)));
  CHECK(code_of(by_threads, "80MiB", "needs 91 MiB beyond the source") == 2);
  CHECK(code_of(by_processes, "90MiB", "needs 100 MiB beyond the source") == 2);
  const auto done = tests::viva(attention(source, folder / "out", {"--isolation", "fork"}));
  CHECK(done.code == 2);
  CHECK(done.out.find("thread or process") != std::string::npos);
}
