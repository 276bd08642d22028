#include "tests/cli/program.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
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
                            "ratio_to_peak", "peak_gflops", "extra_bytes", "isa"})
      CHECK(line.contains(key));
    CHECK(line.at("gflops").get<double>() > 0);
    causal.insert(line.at("causal").get<bool>());
  }
  CHECK(causal.size() == 2);
  const auto wrong = tests::viva({"bench", "attention", "--isa", "avx"});
  CHECK(wrong.code == 2);
  CHECK(wrong.err.find("--isa avx is not here; there are: ") != wrong.err.npos);
}

TEST_CASE("bench attention: measures decoding beside reading, encoded keys and values, bf16 and "
          "two threads") {
  const auto done =
      tests::viva({"bench", "attention", "-n", "64", "-d", "64", "--kv", "q8_0", "--threads", "1",
                   "2", "--decoding-mebibytes", "1", "--repetitions", "1", "--json"});
  REQUIRE(done.code == 0);
  std::istringstream lines(done.out);
  std::set<std::string> seen;
  for (std::string text; std::getline(lines, text);) {
    INFO(text);
    const auto line = nlohmann::json::parse(text);
    const auto queries = line.at("queries").get<unsigned>();
    const auto of = [&](const char* key) { return line.at(key).get<double>(); };
    const bool decoding = queries <= 2;
    CHECK(line.at("ratio_to_read").is_null() == !decoding);
    CHECK(line.at("read_gb_per_s").is_null() == !decoding);
    if (decoding) {
      const auto keys = of("n"), bytes = line.at("kv") == "q8_0" ? 34.0 / 32
                                         : line.at("kv") == "f32" ? 4.0
                                                                  : 2.0;
      const double seconds = 4 * queries * keys * 64 * of("h") / of("gflops") / 1e9;
      const double moved = 2 * keys * 64 * of("h") * bytes;
      CHECK(std::fabs(of("gb_per_s") * 1e9 * seconds / moved - 1) < 0.01);
      CHECK(of("read_gb_per_s") > 0);
    }
    CHECK(std::fabs(of("ratio_to_peak") * of("peak_gflops") / of("gflops") - 1) < 1e-6);
    seen.insert(line.at("dtype").get<std::string>() + " " + line.at("kv").get<std::string>() + " "
                + std::to_string(queries) + " x" + std::to_string(line.at("threads").get<int>()));
  }
  for (const auto* what : {"f32 f32", "f32 q8_0", "bf16 bf16"})
    for (const auto* how : {" 64 x1", " 64 x2", " 1 x1", " 1 x2", " 2 x1", " 2 x2"})
      CHECK(seen.contains(std::string(what) + how));
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
