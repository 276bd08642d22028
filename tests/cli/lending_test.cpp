// Commands that nodes lend their lanes to, from outside: the bytes of this machine, and what a user
// is told where there are no nodes.

#include "tests/actors/node_processes.hpp"
#include "tests/formats/files.hpp"

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

} // namespace

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
