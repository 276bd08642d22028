// A job that is stopped while its output gets its name: the same command finds it done.

#include "tests/cli/program.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <csignal>
#include <map>

using viva::tests::temporary_folder;
using viva::tests::text_in;
namespace fs = std::filesystem;

namespace {

using words = std::vector<std::string>;

struct scene {
  temporary_folder folder;
  std::string source = (folder / "source").string(), output = (folder / "out").string();

  scene() {
    REQUIRE(viva::tests::viva({"synth", source, "--size", "4MiB"}).code == 0);
  }
  viva::tests::finished quantize(words more, const std::string& method = "nf4") const {
    words all{"quantize", source, "-m", method, "-o", output, "--shard-bytes", "64KiB", "--json"};
    all.insert(all.end(), more.begin(), more.end());
    return viva::tests::viva(all);
  }
  nlohmann::json status() const {
    return nlohmann::json::parse(viva::tests::viva({"status", output, "--json"}).out);
  }
  std::map<std::string, std::string> bytes() const {
    std::map<std::string, std::string> all;
    for (const auto& file : fs::directory_iterator(output))
      all[file.path().filename().string()] = text_in(file.path());
    return all;
  }
  bool tidy() const {
    return !fs::exists(output + ".partial") && !fs::exists(output + ".journal");
  }
};

words stopped_at(int step, words more = {}) {
  more.insert(more.end(), {"--allow-faults", "--fault", "stop-at-naming=" + std::to_string(step)});
  return more;
}

} // namespace

TEST_CASE("naming: stopped at any step, the same command ends as if nothing had happened") {
  for (const std::string method : {"nf4", "nvfp4"}) // the second writes numbers late
    for (const int step : {1, 2, 3}) {
      CAPTURE(method, step);
      const scene at;
      REQUIRE(at.quantize({}, method).code == 0);
      const auto truth = at.bytes();
      fs::remove_all(at.output);
      CHECK(at.quantize(stopped_at(step), method).code == 128 + SIGKILL);
      CHECK(fs::exists(at.output) == (step > 1));
      const auto status = at.status();
      CHECK(status["state"] == (step > 1 ? "done" : "interrupted"));
      const auto done = at.quantize({}, method);
      INFO(done.err);
      REQUIRE(done.code == 0);
      const auto totals = nlohmann::json::parse(done.out)["totals"];
      CHECK(totals["shards_resumed"] == totals["shards"]);
      CHECK(at.bytes() == truth);
      CHECK(at.tidy());
      CHECK(at.quantize({}, method).code == 2); // from here on it is there like any other
    }
}

TEST_CASE("naming: stopped behind an exchange, the replaced output is removed and not resumed") {
  for (const int step : {1, 2, 3}) {
    CAPTURE(step);
    const scene at;
    REQUIRE(at.quantize({}).code == 0);
    const auto truth = at.bytes();
    fs::remove_all(at.output);
    REQUIRE(at.quantize({}, "int8").code == 0);
    const auto old = at.bytes();
    CHECK(at.quantize(stopped_at(step, {"--overwrite"})).code == 128 + SIGKILL);
    CHECK(at.bytes() == (step > 1 ? truth : old));
    const auto status = at.status();
    CHECK(status["state"] == (step > 1 ? "done" : "interrupted"));
    CHECK((status["next"].get<std::string>().find(".partial") != std::string::npos) == (step == 2));
    if (step == 1) // nothing was exchanged: the old output stands, and stays without --overwrite
      CHECK(at.quantize({}).code == 2);
    const auto done = step == 1 ? at.quantize({"--overwrite"}) : at.quantize({});
    INFO(done.err);
    REQUIRE(done.code == 0);
    const auto totals = nlohmann::json::parse(done.out)["totals"];
    CHECK(totals["shards_resumed"] == totals["shards"]);
    CHECK(at.bytes() == truth);
    CHECK(at.tidy());
  }
}

TEST_CASE("naming: another job does not take the output for its own, nor one that was changed") {
  const scene at;
  CHECK(at.quantize(stopped_at(2)).code == 128 + SIGKILL);
  const auto other = at.quantize({}, "int8");
  CHECK(other.code == 2);
  CHECK(other.out.find("another job") != std::string::npos);
  CHECK(fs::exists(at.output + ".journal"));
  for (const auto& file : fs::directory_iterator(at.output))
    if (file.path().extension() == ".safetensors") {
      std::fstream spoiled(file.path(), std::ios::in | std::ios::out | std::ios::binary);
      spoiled.seekp(-100, std::ios::end);
      spoiled << "spoiled";
    }
  const auto changed = at.quantize({});
  CHECK(changed.code == 2);
  CHECK(changed.out.find("was changed since") != std::string::npos);
  CHECK(at.quantize({"--overwrite"}, "int8").code == 0);
  CHECK(at.tidy());
}
