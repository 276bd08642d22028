// What `viva bench supervision` writes.

#include "tests/cli/program.hpp"
#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <sstream>

using namespace viva;

TEST_CASE("bench supervision: a latency is a JSON line with its metric, median and p99") {
  const auto done = tests::viva(
    {"bench", "supervision", "--json", "--samples", "100", "--only", "restart.kill"});
  REQUIRE(done.code == 0);
  std::istringstream lines(done.out);
  std::vector<std::string> metrics;
  for (std::string text; std::getline(lines, text);) {
    const auto line = nlohmann::json::parse(text);
    metrics.push_back(line.at("metric"));
    CHECK(line.at("samples") > 0);
    CHECK(line.at("median_us") > 0.0);
    CHECK(line.at("median_us") <= line.at("p99_us"));
    CHECK_FALSE(line.contains("per_s"));
  }
  CHECK(metrics == std::vector<std::string>{"restart.kill", "restart.kill_window_10000"});
}
