// The laws that a simulated life is held to while it runs and when it answers.

#include "tests/faults/checker.hpp"
#include "tests/faults/simulated_life.hpp"

#include <algorithm>

namespace viva::faults {

using namespace actors;

void simulated_life::check_handed_out(const hand_out& what) {
  for (const auto& task : what.tasks) {
    const auto s = task.id.shard;
    if (x_past.acknowledged.contains(s))
      x_past.accuse("shard " + std::to_string(s) + " is durable and is run again");
    const auto strikes = x_past.strikes.find(s);
    if (strikes == x_past.strikes.end())
      continue;
    if (strikes->second > x_past.strikes_max)
      x_past.accuse("shard " + std::to_string(s) + " belongs into quarantine and is run again");
    if (strikes->second == x_past.strikes_max && what.lane != isolation_lane)
      x_past.accuse("shard " + std::to_string(s) + " belongs on the isolation lane");
  }
}

// What the policy was told of runs, in the order it was told; with its lane's end a run is lost.
void simulated_life::note_handed_out(const hand_out& what) {
  for (const auto& task : what.tasks) {
    const auto s = task.id.shard;
    const auto other = x_out.lower_bound({s, 0});
    x_attempts[s].copies += other != x_out.end() && other->first.first == s ? 1 : 0;
    if (!x_out.emplace(std::pair{s, task.id.run}, what.lane).second)
      x_past.accuse("a run of shard " + std::to_string(s) + " is handed out twice");
  }
}

void simulated_life::note_home(const batch_receipt& told) {
  for (const auto& each : told.shards)
    if (const auto out = x_out.find({each.id.shard, each.id.run});
        out != x_out.end() && out->second == told.lane) {
      x_home.insert(out->first);
      x_out.erase(out);
    }
}

void simulated_life::note_lost(const std::string& id) {
  for (const auto& [run, who] : x_out)
    x_attempts[run.first].lost += who == id ? 1 : 0;
  std::erase_if(x_out, [&](const auto& each) { return each.second == id; });
}

/// I6, I7: what is committed was handed out in this life, to a lane not known as dead when it told.
void simulated_life::check_tokens(const save& what) {
  for (const auto& each : what.records)
    if (const auto* done = std::get_if<done_record>(&each);
        done != nullptr && !x_home.contains({done->shard, done->run}))
      x_past.accuse("shard " + std::to_string(done->shard) + " is committed by a run that is dead");
}

void simulated_life::check_nobody_writes() {
  for (const auto& [id, which] : x_lanes)
    if (which.up && !which.box.empty())
      x_past.accuse("the output gets its name while " + id + " may write into it");
}

void simulated_life::check_answer() {
  const bool good = x_outcome.problem.code == errc::ok;
  const bool before = x_place->named().has_value(); // an earlier life gave the name
  // Given, and not synced: the name may stay, or go with the power.
  const bool nearly = x_disk.folder_syncs_failed() > x_folder_failures
                      && x_outcome.problem.code == errc::cannot_write;
  if (good != (x_disk.look(output_name) != nullptr) && (good || (!before && !nearly)))
    x_past.accuse(good ? "the job said done and there is no output"
                       : "the job said failed and left an output");
  if (x_journal->sound() && x_outcome.problem.code != errc::cannot_write
      && x_reported != x_written)
    x_past.accuse("a lane died on a shard and the journal does not know");
  const auto* journal = x_disk.look(journal_path(output_name));
  if (!good && x_journal->sound() && journal != nullptr
      && check_journal(*journal, 0).ended != to_string(x_outcome.problem.code))
    x_past.accuse("the job has failed and its journal does not say of what");
  if (!good)
    return;
  if (journal != nullptr)
    x_past.accuse("the job is done and its journal is still there");
  for (std::size_t t = 0; t < x_ground.errors.size(); ++t) {
    const auto &told = x_outcome.errors[t], &truth = x_ground.errors[t];
    if (told.has_value() != truth.has_value()
        || (told && (told->mse != truth->mse || told->max_error != truth->max_error)))
      x_past.accuse("tensor " + std::to_string(t) + " has other errors than undisturbed");
  }
}

} // namespace viva::faults
