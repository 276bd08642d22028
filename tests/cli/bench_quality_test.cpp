// viva bench quality from outside: every method on every workload, beside what is stated, what is
// derived, and what the report this project answers to printed.

#include "tests/cli/program.hpp"

#include "kernels/registry.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <map>
#include <set>
#include <sstream>
#include <utility>

using namespace viva;

namespace {

constexpr auto normal = "N(0,1) 1024x512", uniform = "U[0,1) 1024x512",
               narrow = "N(0,0.3) 512x512";

using place = std::pair<std::string, std::string>; ///< Workload and method.

/// What the report printed, on the workload that it was printed for.
const std::map<place, std::string>& claims() {
  static const std::map<place, std::string> all{
      {{narrow, "int8-tensor"}, "19.98 dB"}, {{narrow, "nf4"}, "19.98 dB"},
      {{narrow, "awq"}, "13.72 dB"},         {{uniform, "nf4-dq"}, "3.9 %"},
      {{uniform, "q4_0"}, "8.0x, 1.5 %"},    {{uniform, "nvfp4"}, "4.0x, 1.29 %"},
      {{uniform, "awq"}, "7.7x, 3.6 %"}};
  return all;
}

std::set<place> all_places() {
  std::set<place> all;
  for (const auto* workload : {normal, uniform, narrow}) {
    for (const auto& method : kernels::methods())
      all.emplace(workload, method.name);
    for (const auto* words : {"int4:absmax", "int4:search", "int4:asym", "int4:asym:search",
                              "awq:rtn"})
      all.emplace(workload, words);
  }
  return all;
}

std::map<place, nlohmann::json> json_lines() {
  const auto done = tests::viva({"bench", "quality", "--json"});
  INFO(done.err);
  REQUIRE(done.code == 0);
  std::map<place, nlohmann::json> all;
  std::istringstream in(done.out);
  for (std::string text; std::getline(in, text);) {
    auto line = nlohmann::json::parse(text);
    const place at{line.at("workload").get<std::string>(), line.at("method").get<std::string>()};
    INFO(text);
    REQUIRE(all.emplace(at, std::move(line)).second);
  }
  return all;
}

/// Its rows, each below the workload in whose table it stands.
std::map<place, std::string> table_rows() {
  const auto done = tests::viva({"bench", "quality"});
  INFO(done.err);
  REQUIRE(done.code == 0);
  std::map<place, std::string> all;
  std::string workload;
  std::istringstream in(done.out);
  for (std::string text; std::getline(in, text);) {
    const auto first = text.substr(0, text.find("  "));
    if (text == normal || text == uniform || text == narrow)
      workload = text;
    else if (!text.empty() && first != "method")
      REQUIRE(all.emplace(place{workload, first}, text).second);
  }
  return all;
}

void check_stated(const place& at, const nlohmann::json& line) {
  const auto db = line.at("sqnr_db").get<double>();
  if (at.first != normal) {
    CHECK(line.at("target_db").is_null());
    return;
  }
  // By the largest of half a million values, which differs from draw to draw.
  const double margin = at.second == "int8-tensor" ? 0.5 : 0.05;
  CHECK(std::abs(db - line.at("target_db").get<double>()) < margin);
  CHECK(std::abs(db - line.at("theory_db").get<double>()) < margin); // every method has one
}

} // namespace

TEST_CASE("bench quality: every method stands on every workload, as JSON and in the table, with "
          "what is stated and what the report printed") {
  if (tests::sanitized) // minutes of kernels, which their own tests watch
    return;
  const auto lines = json_lines();
  const auto rows = table_rows();
  std::set<place> met;
  for (const auto& [at, line] : lines) {
    INFO(at.first << ": " << line.dump());
    met.insert(at);
    check_stated(at, line);
    const auto claim = claims().find(at);
    const auto printed = line.at("report").get<std::string>();
    CHECK(printed.empty() == (claim == claims().end()));
    CHECK((claim == claims().end() || printed.starts_with(claim->second)));
    const auto row = rows.find(at);
    REQUIRE(row != rows.end());
    INFO(row->second);
    CHECK(row->second.find(fmt::format(" {:.2f} ", line.at("sqnr_db").get<double>()))
          != std::string::npos);
    CHECK(row->second.ends_with("  " + printed));
  }
  CHECK((met == all_places()));
  CHECK(rows.size() == lines.size());
  // What is true where the report printed 19.98 dB, and its "error %" in its own units.
  const auto figure = [&](const char* workload, const char* method, const char* key) {
    return lines.at({workload, method}).at(key).get<double>();
  };
  CHECK(std::abs(figure(narrow, "int8-tensor", "sqnr_db") - 40.25) < 0.6);
  CHECK(std::abs(figure(narrow, "nf4", "sqnr_db") - 20.73) < 0.05);
  CHECK(std::abs(figure(uniform, "int8-tensor", "mae") - 0.0020) < 0.0001);
  CHECK(std::abs(figure(uniform, "nf4", "mae") - 0.0379) < 0.0003);
  CHECK(std::abs(figure(uniform, "sparse24", "mae") - 0.1497) < 0.001);
}

TEST_CASE("bench quality: one method alone, and one that is none") {
  const auto one = tests::viva({"bench", "quality", "-m", "q8_0", "--json"});
  INFO(one.err);
  REQUIRE(one.code == 0);
  std::istringstream in(one.out);
  std::size_t lines = 0;
  for (std::string text; std::getline(in, text); ++lines)
    CHECK(nlohmann::json::parse(text).at("method") == "q8_0");
  CHECK(lines == 3);
  const auto none = tests::viva({"bench", "quality", "-m", "q8_1"});
  CHECK(none.code == 2);
  CHECK(none.err.find("no method is called 'q8_1'") != none.err.npos);
}
