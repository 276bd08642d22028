#include "tests/cli/program.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <set>
#include <sstream>

using namespace viva;

TEST_CASE("bench attention: writes a JSON line for each case, with what it promises") {
  const auto done =
      tests::viva({"bench", "attention", "-n", "64", "-d", "32", "--dtype", "f32", "--kv", "none",
                   "--threads", "1", "--no-decoding", "--repetitions", "1", "--json"});
  REQUIRE(done.code == 0);
  std::istringstream lines(done.out);
  std::set<bool> causal;
  for (std::string text; std::getline(lines, text);) {
    const auto line = nlohmann::json::parse(text);
    for (const auto* key : {"n", "d", "h", "causal", "dtype", "kv", "threads", "gflops",
                            "ratio_to_peak", "extra_bytes", "isa"})
      CHECK(line.contains(key));
    CHECK(line.at("gflops").get<double>() > 0);
    causal.insert(line.at("causal").get<bool>());
  }
  CHECK(causal.size() == 2);
  const auto wrong = tests::viva({"bench", "attention", "--isa", "avx"});
  CHECK(wrong.code == 2);
  CHECK(wrong.err.find("--isa avx is not here; there are: ") != wrong.err.npos);
}

TEST_CASE("bench attention: counts every page of a matrix of scores, and few of its own") {
  const auto done = tests::viva({"bench", "attention", "-d", "64", "--memory", "512", "--json"});
  REQUIRE(done.code == 0);
  std::istringstream lines(done.out);
  std::size_t seen = 0;
  for (std::string text; std::getline(lines, text);) {
    const auto line = nlohmann::json::parse(text);
    const auto n = line.at("n").get<std::uint64_t>();
    INFO(text);
    CHECK(line.at("extra_bytes").get<std::uint64_t>() < 1u << 20);
    if (n >= 256) // smaller ones may lie in pages that the program has
      CHECK(line.at("matrix_extra_bytes").get<std::uint64_t>() >= 4 * n * n);
    seen += n >= 256 ? 1 : 0;
  }
  CHECK(seen == 2);
}
