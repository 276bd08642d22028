// What of a cluster is one command of one machine: certificates, and the path of bytes measured.

#include "tests/cli/program.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <map>
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

namespace {

/// The lines of one part, by their metrics.
std::map<std::string, nlohmann::json> measured(const std::string& part) {
  const auto run = tests::viva({"bench", "nodes", "--only", part, "--rounds", "1", "--mebibytes",
                                "8", "--job-mebibytes", "4", "--coordinated", "40", "--shards",
                                "20000", "--json"});
  INFO(run.err);
  REQUIRE(run.code == 0);
  std::istringstream lines(run.out);
  std::map<std::string, nlohmann::json> all;
  for (std::string line; std::getline(lines, line);) {
    auto one = nlohmann::json::parse(line);
    const auto metric = one.at("metric").get<std::string>();
    all[metric] = std::move(one);
  }
  return all;
}

} // namespace

TEST_CASE("bench nodes: each way of moving bytes is a line with what it moved") {
  const auto all = measured("bytes");
  CHECK(all.size() == 7);
  for (const auto& [metric, one] : all) {
    INFO(metric);
    CHECK(one.at("mb_per_s").get<double>() > 0);
    CHECK(one.at("to_raw_files").is_null() == (metric == "raw" || metric == "raw_stream"));
  }
}

TEST_CASE("bench nodes: what a lost node had is done elsewhere, as soon as is promised") {
  const auto all = measured("recovery");
  CHECK(all.size() == 2);
  for (const auto& [metric, one] : all) {
    INFO(one.dump());
    const double again = one.at("again_ms");
    CHECK(one.at("again_ms_max").get<double>() >= again);
    CHECK(again < one.at("limit_ms").get<double>() + 8'000); // beside other work
    const double silent = metric == "recovery_silent" ? 3'200 : 0; // until it is given up
    CHECK(one.at("named_ms").get<double>() > silent + 3'390); // what it had might still be written
  }
  CHECK(all.at("recovery_killed").at("limit_ms") == 200);
  CHECK(all.at("recovery_silent").at("again_ms").get<double>() > 3'000);
}

TEST_CASE("bench nodes: questions, jobs over processes, and a coordinator of many are measured") {
  auto all = measured("jobs");
  CHECK(all.size() == 6);
  CHECK(all["control"].at("p99_us") >= all["control"].at("median_us"));
  for (const auto* metric : {"job_local", "job_1", "job_2", "job_4", "job_2_shared"}) {
    INFO(metric);
    CHECK(all[metric].at("mb_per_s").get<double>() > 0);
    CHECK(all[metric].at("cpu_s_per_gb").get<double>() > 0);
  }
  CHECK(all["job_local"].at("to_local") == 1);
  const auto played = measured("coordinator");
  CHECK(played.size() == 2);
  for (const auto& [metric, many] : played) {
    INFO(metric);
    CHECK(many.at("shards") == 20000);
    CHECK(many.at("lanes") == 80);
    CHECK(many.at("us_per_shard").get<double>() > 0);
    CHECK(many.at("messages_per_shard").get<double>() >= 2);
    CHECK(many.at("letter_bytes_per_shard").get<double>() > 100); // heads of two are 62
  }
  // What lanes tell of errors travels and is kept.
  CHECK(played.at("coordinator_copied").at("journal_bytes_per_shard").get<double>() < 100);
  CHECK(played.at("coordinator_encoded").at("journal_bytes_per_shard").get<double>() > 200);
}
