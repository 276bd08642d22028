// Commands that nodes lend their lanes to, from outside: the bytes of this machine, and what a user
// is told where there are no nodes.

#include "tests/actors/node_processes.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/sanitized.hpp"

#include <cstring>
#include <random>

using namespace viva;
using formats::testing::put;
using formats::testing::tensor;
using tests::node_process;
using tests::temporary_folder;
using tests::text_in;
namespace fs = std::filesystem;

namespace {

/// q, k and v of normal values, heads beside each other.
std::string problem(std::uint64_t heads, std::uint64_t queries, std::uint64_t keys) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<formats::tensor_entry> entries{tensor("q", "F32", {heads, queries, 64}),
                                             tensor("k", "F32", {heads, keys, 64}),
                                             tensor("v", "F32", {heads, keys, 64})};
  std::string file = formats::lay_header(entries, {});
  for (auto left = heads * 64 * (queries + 2 * keys); left != 0; --left) {
    const float x = normal(random);
    file.append(reinterpret_cast<const char*>(&x), sizeof x);
  }
  return file;
}

/// An attention in the background whose lane on one node was stopped before it could be done.
class held_attention {
public:
  held_attention(const fs::path& source, const fs::path& output, const std::string& nodes,
                 pid_t held, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{"attention", source.string(), "-o", output.string(), "--causal",
                                   "--json", "--nodes", nodes};
    words.insert(words.end(), more.begin(), more.end());
    const auto file = [&](const char* name) {
      return ::open((x_folder / name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    };
    const int out = file("out"), err = file("err");
    x_pid = tests::start_viva(std::move(words), out, err);
    ::close(out);
    ::close(err);
    REQUIRE(tests::comes_true([&] {
      const auto lanes = tests::lanes_of(held);
      for (const auto each : lanes)
        ::kill(each, SIGSTOP);
      return !lanes.empty();
    }));
  }
  tests::finished wait() {
    tests::finished done;
    done.code = tests::wait_for(x_pid);
    done.out = text_in(x_folder / "out");
    done.err = text_in(x_folder / "err");
    return done;
  }

private:
  temporary_folder x_folder;
  pid_t x_pid = 0;
};

std::size_t files_beside(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), {}));
}

} // namespace

TEST_CASE("lending: attention whose only node is killed ends after --node-timeout, with no file") {
  const temporary_folder folder;
  node_process only(folder.path());
  const auto source = put(folder / "qkv", problem(2, tests::sized_for_kernels(16384, 128), 9000));
  held_attention job(source, folder / "out", only.address(), only.pid(), {"--node-timeout", "1"});
  only.end(SIGKILL);
  const auto began = std::chrono::steady_clock::now();
  const auto done = job.wait();
  INFO(done.err << done.out);
  CHECK(done.code == 1);
  CHECK(done.out.find("no node was to be had for 1 s") != std::string::npos);
  CHECK(done.out.find(only.address()) != std::string::npos);
  CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds{30}); // 60: nobody read it
  CHECK(files_beside(folder.path()) == 1); // the source
}

TEST_CASE("lending: attention that loses one node of two writes the same file") {
  const temporary_folder folder;
  node_process lost(folder.path()), left(folder.path());
  const auto source = put(folder / "qkv", problem(2, tests::sized_for_kernels(16384, 128), 9000));
  REQUIRE(tests::viva({"attention", source.string(), "-o", (folder / "here").string(), "--causal",
                       "--lanes", "1"})
            .code
          == 0);
  held_attention job(source, folder / "there", lost.address() + "," + left.address(), lost.pid());
  lost.end(SIGKILL);
  const auto done = job.wait();
  INFO(done.err << done.out);
  REQUIRE(done.code == 0);
  CHECK(nlohmann::json::parse(done.out).at("restarts") >= 1);
  const bool same = text_in(folder / "here") == text_in(folder / "there");
  CHECK(same);
}

TEST_CASE("lending: attention for nodes counts its copies against --max-memory") {
  const temporary_folder folder;
  const std::uint64_t rows = 1 << 18; // sparse: of zeros, which no disk has to hold
  std::vector<formats::tensor_entry> entries{tensor("q", "F32", {1, rows, 64}),
                                             tensor("k", "F32", {1, 3, 64}),
                                             tensor("v", "F32", {1, 3, 64})};
  const auto source = put(folder / "qkv", formats::lay_header(entries, {}));
  fs::resize_file(source, fs::file_size(source) + (rows + 6) * 64 * sizeof(float));
  const auto run = [&](const std::string& limit, const std::string& nodes) {
    return tests::viva({"attention", source.string(), "-o", (folder / "out").string(), "--nodes",
                        nodes, "--max-memory", limit});
  };
  const auto refused = run("240MiB", "127.0.0.1:9"); // before anybody is looked for
  CHECK(refused.code == 2);
  CHECK(refused.err.find("needs 251 MiB beyond the source") != std::string::npos);
  CHECK(refused.err.find("leave --nodes out") != std::string::npos);
  CHECK(files_beside(folder.path()) == 1);
}

TEST_CASE("lending: attention over two nodes writes the file that this machine writes") {
  const temporary_folder folder;
  const node_process one(folder.path()), other(folder.path());
  const auto both = one.address() + "," + other.address();
  const auto source = put(folder / "qkv", problem(3, 5, 9000)).string();
  const auto run = [&](const std::string& name, const std::vector<std::string>& more) {
    std::vector<std::string> words{"attention", source, "-o", (folder / name).string(), "--causal",
                                   "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return tests::viva(std::move(words));
  };
  const auto here = run("here", {}), there = run("there", {"--nodes", both, "--lanes", "2"});
  INFO(here.err << there.err);
  REQUIRE(here.code == 0);
  REQUIRE(there.code == 0);
  CHECK(nlohmann::json::parse(there.out).at("lanes") == 4);
  const bool same = text_in(folder / "here") == text_in(folder / "there");
  CHECK(same);
  const auto none = run("none", {"--nodes", "127.0.0.1:9"});
  CHECK(none.code != 0);
  CHECK((none.out + none.err).find("no node was to be had within 10 s") != std::string::npos);
  CHECK_FALSE(fs::exists(folder / "none"));
}

TEST_CASE("lending: throughput is counted and verified alike for threads, processes and nodes") {
  const temporary_folder folder;
  const node_process node(folder.path());
  struct row {
    std::string are;
    std::vector<std::string> lanes;
    bool die;
  };
  const std::vector<std::string> apart{"--isolation", "process"};
  for (const auto& [are, lanes, die] :
       {row{"thread", {}, false}, row{"process", apart, false},
        row{"nodes", {"--nodes", node.address()}, false}, row{"thread", {}, true},
        row{"process", apart, true}}) {
    const auto file = folder / "line";
    std::vector<std::string> words{"bench",    "throughput", "--tensors", "2000", "--rounds", "1",
                                   "--json",   file.string(), "--lanes",  "1"};
    words.insert(words.end(), lanes.begin(), lanes.end());
    if (die)
      words.insert(words.end(),
                   {"--faults", "kill=50ms", "--killed-seconds", "1", "--measure"});
    const auto done = tests::viva(words);
    INFO(are << (die ? " that die: " : ": ") << done.err << done.out);
    REQUIRE(done.code == 0);
    const auto line = nlohmann::json::parse(text_in(file));
    CHECK(line.at("tensors") == 2000);
    CHECK(line.at("values") == 512);
    CHECK(line.at("method") == "int8");
    CHECK(line.at("lanes") == 1);
    CHECK(line.at("isolation") == are);
    CHECK(line.at("verified") == true);
    CHECK(line.at("results_checked") >= 2000);
    CHECK((line.at("restarts") > 0) == die);
    CHECK((line.at("killed_ratio") > 0) == die);
    CHECK((line.at("killed_tensors_per_s") > 0) == die);
    CHECK((line.at("measured_tensors_per_s") > 0) == die);
    REQUIRE(line.at("snr_db_mean").is_number()); // null is what JSON has for infinity
    if (die) {
      CHECK(line.at("snr_db_mean") > 30); // eight bits of normal values
      CHECK(line.at("snr_db_least") <= line.at("snr_db_mean"));
      CHECK(line.at("max_error") > 0);
    }
    for (const auto* key : {"wall_s", "tensors_per_s", "ratio_to_bare", "read_gb_s", "gb_s",
                            "messages_per_tensor", "p50_us", "p99_us"}) {
      INFO(key);
      CHECK(line.at(key).get<double>() > 0);
    }
    CHECK(line.at("p99_us") >= line.at("p50_us"));
  }
}
