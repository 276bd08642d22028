// viva_simulate --seeds N [--seed FIRST]: tells the stories of N seeds, prints what was put in and
// every seed that broke a law, and fails where one did. `--seed S --seeds 1` tells one again.

#include "tests/faults/simulation.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <cstdio>
#include <sstream>
#include <string>

namespace {

using namespace viva::faults;

void add(story& all, const story& one) {
  all.lives += one.lives;
  all.kills += one.kills;
  all.power_cuts += one.power_cuts;
  all.lane_deaths += one.lane_deaths;
  all.rotten += one.rotten;
  all.quarantined += one.quarantined;
  all.copies += one.copies;
  all.left_out += one.left_out;
  all.folder_syncs_failed += one.folder_syncs_failed;
  all.named_only += one.named_only;
  all.shards_run += one.shards_run;
  all.events += one.events;
}

void say(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

int simulate_all(std::uint64_t first, std::uint64_t seeds) {
  const ground grounds[] = {ground("int8"), ground("nf4-dq")};
  const auto began = std::chrono::steady_clock::now();
  story all;
  std::uint64_t failed = 0;
  for (auto seed = first; seed < first + seeds; ++seed) {
    const auto told = simulate(grounds[seed % 2], seed);
    add(all, told);
    if (told.broken.empty())
      continue;
    ++failed;
    say("seed " + std::to_string(seed) + ": " + told.broken
        + "\n  again: viva_simulate --seeds 1 --seed " + std::to_string(seed));
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  std::ostringstream line;
  line << "seeds " << seeds << ", failed " << failed << ", lives " << all.lives << ", kills "
       << all.kills << ", power cuts " << all.power_cuts << ", lane deaths " << all.lane_deaths
       << ", late shards copied " << all.copies << ", rotten bits " << all.rotten
       << ", shards in quarantine " << all.quarantined
       << ", records that did not fit " << all.left_out
       << ", syncs of the folder failed " << all.folder_syncs_failed
       << ", ends just behind the name " << all.named_only << ", runs of a shard "
       << all.shards_run << ", events " << all.events << ", seconds "
       << took.count() << ", seeds a minute "
       << static_cast<std::uint64_t>(60.0 * static_cast<double>(seeds) / took.count());
  say(line.str());
  return failed == 0 ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
  std::uint64_t first = 1, seeds = 10'000;
  CLI::App app("Tells stories of a job whose lanes, process, power and disk fail.");
  app.add_option("--seeds", seeds, "how many")->capture_default_str();
  app.add_option("--seed", first, "the first")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return simulate_all(first, seeds);
}
