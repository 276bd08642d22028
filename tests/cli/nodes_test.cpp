// What of a cluster is one command of one machine: certificates, and the path of bytes measured.

#include "tests/cli/program.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <set>
#include <sstream>

using namespace viva;
using tests::temporary_folder;
using tests::text_in;
namespace fs = std::filesystem;

TEST_CASE("certs: an authority and members, keys for nobody else, and later more of them") {
  const temporary_folder folder;
  const auto out = (folder / "certs").string();
  const auto made = tests::viva({"certs", out, "a", "--json"});
  REQUIRE(made.code == 0);
  CHECK(nlohmann::json::parse(made.out)["members"] == std::vector<std::string>{"a"});
  constexpr auto others = fs::perms::group_all | fs::perms::others_all;
  for (const auto* key : {"certs/ca.key", "certs/a/node.key"}) {
    INFO(key);
    CHECK(text_in(folder / key).starts_with("-----BEGIN"));
    CHECK((fs::status(folder / key).permissions() & others) == fs::perms::none);
  }
  const auto authority = text_in(folder / "certs/a/ca.pem");
  const auto member = text_in(folder / "certs/a/node.pem");
  REQUIRE(tests::viva({"certs", out, "b"}).code == 0);
  CHECK(text_in(folder / "certs/b/ca.pem") == authority);
  CHECK(text_in(folder / "certs/a/node.pem") == member);
  const auto again = tests::viva({"certs", out, "a"});
  CHECK(again.code != 0); // a machine may use it
  CHECK(text_in(folder / "certs/a/node.pem") == member);
}

TEST_CASE("bench nodes: each way of moving bytes is a line with what it moved") {
  const auto run = tests::viva({"bench", "nodes", "--rounds", "1", "--mebibytes", "8", "--json"});
  INFO(run.err);
  REQUIRE(run.code == 0);
  std::istringstream lines(run.out);
  std::set<std::string> metrics;
  for (std::string line; std::getline(lines, line);) {
    const auto one = nlohmann::json::parse(line);
    INFO(line);
    CHECK(one.at("mb_per_s").get<double>() > 0);
    CHECK(one.at("to_raw_files").is_null() == (one.at("metric") == "raw"));
    metrics.insert(one.at("metric").get<std::string>());
  }
  CHECK(metrics.size() == 6);
}
