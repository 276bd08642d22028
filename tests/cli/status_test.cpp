// What `viva status` tells of a job that failed.

#include "tests/cli/program.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

TEST_CASE("status: a shard in quarantine is told with every reason and its source's checksum") {
  const viva::tests::temporary_folder folder;
  const auto source = (folder / "source").string(), output = (folder / "out").string();
  REQUIRE(viva::tests::viva({"synth", source, "--size", "1MiB"}).code == 0);
  CHECK(viva::tests::viva({"quantize", source, "-m", "int8", "-o", output, "--isolation", "thread",
                           "--allow-faults", "--fault", "poison=1"})
          .code
        == 1);
  const auto told = nlohmann::json::parse(viva::tests::viva({"status", output, "--json"}).out);
  CHECK(told["state"] == "failed");
  CHECK(told["ended"]["code"] == "job_failed");
  const auto why = told["ended"]["text"].get<std::string>();
  CHECK(why.find("shards are in quarantine") != why.npos);
  REQUIRE(told["struck"].size() == 1);
  const auto& struck = told["struck"][0];
  CHECK(struck["quarantined"] == true);
  CHECK(struck["reasons"].size() == 4);
  const auto checksum = struck["source_xxh3"].get<std::string>();
  CHECK(checksum.size() == 16);
  const auto text = viva::tests::viva({"status", output}).out;
  CHECK(text.find("a lane died of ") != std::string::npos);
  CHECK(text.find("  ended    job_failed: 1 of ") != std::string::npos);
  CHECK(text.find("its source bytes have xxh3 " + checksum) != std::string::npos);
}
