// viva bench kernels from outside: the lines of --json, for methods of every kind, in each of the
// operations that they have.

#include "tests/cli/program.hpp"
#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <set>
#include <sstream>
#include <tuple>

using namespace viva;

TEST_CASE("bench kernels: the same keys for every operation of every kind of method") {
  const tests::temporary_folder folder;
  const auto file = (folder / "lines").string();
  const std::set<std::string> keys{"values", "threads", "values_per_s", "mad", "bytes_per_s"};
  for (const auto& [method, dtype, scans] : {std::tuple{"int8", "f32", false},
                                             {"nf4-dq", "bf16", true},
                                             {"fp8-tensor", "f16", true},
                                             {"int4:group=32:search", "f32", false},
                                             {"sparse24+int8", "bf16", false}}) {
    INFO(method);
    REQUIRE(tests::viva({"bench", "kernels", "-m", method, "--values", "16384", "--dtype", dtype,
                         "--json", file, "--repetitions", "1"})
                .code
            == 0);
    std::set<std::string> seen;
    std::istringstream lines(tests::text_in(file));
    for (std::string text; std::getline(lines, text);) {
      const auto line = nlohmann::json::parse(text);
      INFO(text);
      for (const auto* key : {"commit", "isa", "ratio_to_limit", "ratio_to_reference"})
        CHECK(line.contains(key));
      for (const auto& key : keys)
        CHECK(line.at(key).is_number());
      CHECK(line.at("values").get<std::uint64_t>() > 0);
      CHECK(line.at("values_per_s").get<double>() > 0);
      if (line.at("method") == "machine")
        continue;
      CHECK(line.at("method") == method);
      CHECK(line.at("dtype") == dtype);
      const bool simd = line.at("path") == "simd";
      CHECK(line.at("ratio_to_limit").is_number());
      CHECK(line.at("ratio_to_reference").is_number() == (line.at("op") != "survey"));
      seen.insert(line.at("op").get<std::string>() + (simd ? "" : " reference"));
    }
    std::set<std::string> wanted{"encode",           "measure",           "decode",
                                 "encode reference", "measure reference", "decode reference"};
    if (scans)
      wanted.insert("survey"); // which has no reference
    CHECK(seen == wanted);
  }
}
