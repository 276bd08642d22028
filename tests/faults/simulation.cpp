#include "tests/faults/simulation.hpp"

#include "actors/workplace.hpp"
#include "tests/faults/checker.hpp"
#include "tests/faults/simulated_life.hpp"

#include <algorithm>

namespace viva::faults {
namespace {

using state = journal_findings::state;

class narrator {
public:
  narrator(const ground& on, std::uint64_t seed) : x_on(on), x_random(seed) {
    x_past.strikes_max = 1 + static_cast<std::uint32_t>(chance(3));
    x_past.lanes = 1 + static_cast<std::uint32_t>(chance(4));
    const std::uint64_t batches[] = {1, 4096, 256 << 10};
    x_past.batch_bytes_max = batches[chance(3)];
    x_past.lost_runs = chance(2) == 0 ? actors::losers::ended : actors::losers::awaited;
    if (chance(2) == 0) // small against what shards find
      x_past.room = {8192, 4096, 1024};
    if (chance(3) == 0)
      for (auto n = 1 + chance(3); n-- > 0;)
        x_poison.insert(static_cast<std::uint32_t>(chance(on.work.shards.size())));
  }

  story tell() {
    for (auto n = chance(6); n-- > 0 && !over();)
      one_life(hard());
    x_calm = true;
    if (!over())
      one_life(calm());
    if (!over() && !x_poison.empty())
      check_quarantine();
    x_poison.clear();
    auto last = calm();
    last.pardons = true;
    // A power cut may bring the journal back that was removed: once more, until it stays away.
    for (int i = 0; i < 50 && !over() && (i == 0 || x_published); ++i)
      one_life(last);
    if (x_past.broken.empty() && !x_done)
      x_past.accuse("without faults the job did not come to its end: " + x_last_problem);
    x_story.broken = x_past.broken;
    x_story.lane_deaths = x_past.lane_deaths;
    x_story.shards_run = x_past.shards_run;
    x_story.copies = x_past.copies;
    x_story.left_out = x_past.left_out;
    x_story.folder_syncs_failed = x_disk.folder_syncs_failed();
    x_story.events = x_past.events;
    return x_story;
  }

private:
  std::uint64_t chance(std::uint64_t of) {
    return x_random() % of;
  }
  bool over() const {
    return x_done || !x_past.broken.empty();
  }

  hardship calm() const {
    hardship faults;
    faults.poison = x_poison;
    return faults;
  }

  hardship hard() {
    auto faults = calm();
    faults.lane_deaths_percent = chance(3) == 0 ? 0 : chance(25);
    faults.idle_deaths_percent = chance(2) == 0 ? 0 : chance(10);
    faults.twice_percent = chance(2) == 0 ? 0 : chance(20);
    faults.strict = chance(10) == 0;
    if (chance(3) == 0)
      faults.slow_lane = "lane-" + std::to_string(chance(x_past.lanes));
    if (chance(10) == 0)
      faults.isolation_refusals = chance(2) == 0 ? ~0u : 1 + static_cast<std::uint32_t>(chance(5));
    faults.cannot_plan = chance(40) == 0;
    if (chance(4) == 0)
      faults.kill_at_event = 1 + chance(600);
    if (chance(8) == 0)
      faults.stop_at_event = 1 + chance(400);
    if (chance(8) == 0)
      faults.full_at_event = 1 + chance(400);
    if (chance(2) == 0)
      x_disk.kill_at = x_disk.calls() + 1 + chance(chance(2) == 0 ? 30 : 700);
    if (chance(8) == 0)
      x_disk.fail_sync_at = x_disk.syncs() + chance(20);
    if (chance(8) == 0)
      x_disk.fail_folder_sync_at = x_disk.folder_syncs() + chance(3);
    return faults;
  }

  void one_life(const hardship& faults) {
    ++x_story.lives;
    simulated_life life(x_on, x_disk, x_random, faults, x_past);
    const auto end = life.live();
    if (end == life_end::endless)
      x_past.accuse("the job goes on and on");
    const bool sync_failed = !x_calm && life.refusal().code == errc::cannot_write;
    if (end == life_end::refused && !sync_failed)
      x_past.accuse("an honest resume was refused: " + life.refusal().text);
    x_last_problem = life.outcome().problem.text;
    const bool done = end == life_end::answered && life.outcome().problem.code == errc::ok;
    x_quarantined = life.outcome().shards_quarantined;
    afterwards(end, done);
    if (!over() && !x_published && !x_calm && chance(6) == 0)
      rot_output();
    if (!over() && !x_published && !x_calm && chance(6) == 0)
      rot_journal();
  }

  /// What is left of the process, and of what it promised.
  void afterwards(life_end end, bool done) {
    const bool power = chance(end == life_end::killed ? 2 : 3) == 0;
    x_story.kills += end == life_end::killed ? 1 : 0;
    x_story.power_cuts += power ? 1 : 0;
    x_disk.kill_at = x_disk.fail_sync_at = x_disk.lane_writes_left = simulated_disk::never;
    x_disk.fail_folder_sync_at = simulated_disk::never;
    x_disk.full = x_disk.at_lane = false;
    x_disk.crash(power, x_random);
    const auto* output = x_disk.look(output_name);
    if (output != nullptr && *output != x_on.truth)
      x_past.accuse("the output has its name and other bytes than undisturbed");
    if (done && output == nullptr)
      x_past.accuse("the job was done, and its output is gone");
    x_published = output != nullptr;
    if (!x_published)
      check_survivors();
    // With its journal still there the next life has to see that all is done, and tidy up.
    x_done = x_published && x_disk.look(actors::journal_path(output_name)) == nullptr;
    x_story.named_only += x_published && !x_done ? 1 : 0;
  }

  std::string journal_bytes() {
    const auto* bytes = x_disk.look(actors::journal_path(output_name));
    return bytes == nullptr ? std::string() : *bytes;
  }

  bool stands(std::uint32_t shard, const std::string& partial) const {
    return std::ranges::all_of(x_on.extents[shard], [&](const ground::extent& e) {
      return partial.size() >= e.first + e.second
             && partial.compare(e.first, e.second, x_on.truth, e.first, e.second) == 0;
    });
  }

  /// Nothing that was acknowledged is lost, and what the journal says is durable stands on disk.
  void check_survivors() {
    const auto found = check_journal(journal_bytes(), x_past.strikes_max);
    if (found.is == state::damaged)
      x_past.accuse("a crash left a journal that cannot be resumed");
    for (const auto& broken : found.broken)
      x_past.accuse("journal: " + broken);
    for (const auto s : x_past.acknowledged)
      if (!found.done.contains(s))
        x_past.accuse("shard " + std::to_string(s) + " was acknowledged and its record is lost");
    for (const auto& [s, strikes] : x_past.strikes) {
      const auto kept = found.strikes.find(s);
      if (strikes > (kept == found.strikes.end() ? 0 : kept->second.size()))
        x_past.accuse("a strike of shard " + std::to_string(s) + " is forgotten");
    }
    const auto* partial = x_disk.look(actors::partial_path(output_name));
    for (const auto& [s, checksum] : found.done) {
      if (!x_rotten.contains(s) && (partial == nullptr || !stands(s, *partial)))
        x_past.accuse("the journal calls shard " + std::to_string(s)
                      + " durable and its bytes are not there");
      if (x_disk.durable(actors::journal_path(output_name)))
        x_past.acknowledged.insert(s);
    }
    for (const auto s : x_rotten)
      x_past.acknowledged.erase(s); // whether it was computed anew, nobody has said
  }

  void flip_bit(const std::filesystem::path& name, std::uint64_t at, std::uint64_t bit) {
    x_disk.flip(name, at, static_cast<unsigned char>(1u << bit));
  }

  /// Bytes of the output change while no process runs.
  void rot_output() {
    const auto* partial = x_disk.look(actors::partial_path(output_name));
    const auto shard = static_cast<std::uint32_t>(chance(x_on.work.shards.size()));
    if (partial == nullptr || x_on.extents[shard].empty())
      return;
    const auto& [at, bytes] = x_on.extents[shard][chance(x_on.extents[shard].size())];
    if (partial->size() < at + bytes)
      return;
    flip_bit(actors::partial_path(output_name), at + chance(bytes), chance(8));
    x_rotten.insert(shard);
    x_past.acknowledged.erase(shard);
    ++x_story.rotten;
  }

  /// A bit of the journal changes: cut where it was the last frame, an error everywhere else.
  void rot_journal() {
    const auto name = actors::journal_path(output_name);
    const auto before = journal_bytes();
    if (before.empty())
      return;
    const auto at = chance(before.size());
    const auto bit = chance(8);
    flip_bit(name, at, bit);
    ++x_story.rotten;
    const auto found = check_journal(journal_bytes(), 0);
    const bool grown = x_disk.look(actors::partial_path(output_name)) != nullptr;
    if (found.is == state::damaged || (found.is == state::empty && grown)) {
      simulated_life life(x_on, x_disk, x_random, calm(), x_past);
      if (life.live() != life_end::refused)
        return x_past.accuse("a damaged journal was resumed");
      if (journal_bytes() != before)
        flip_bit(name, at, bit);
      if (journal_bytes() != before)
        x_past.accuse("a journal that was refused was changed");
      return;
    }
    x_past.acknowledged.clear();
    for (const auto& [s, checksum] : found.done)
      if (!x_rotten.contains(s))
        x_past.acknowledged.insert(s);
    for (auto& [s, strikes] : x_past.strikes) {
      const auto kept = found.strikes.find(s);
      strikes = kept == found.strikes.end() ? 0
                                            : static_cast<std::uint32_t>(kept->second.size());
    }
  }

  /// After a calm life with poison: those shards, and no others unless faults put them there.
  void check_quarantine() {
    const auto found = check_journal(journal_bytes(), 0);
    for (const auto s : x_poison)
      if (!found.quarantined.contains(s) && !waits(s))
        x_past.accuse("shard " + std::to_string(s) + " kills every lane and is not in quarantine");
    // One that was done, rotted and died anew is either, as its bytes turn out.
    const auto both = static_cast<std::uint64_t>(std::ranges::count_if(
      found.quarantined, [&](std::uint32_t s) { return found.done.contains(s); }));
    if (x_quarantined > found.quarantined.size()
        || x_quarantined + both < found.quarantined.size())
      x_past.accuse("the answer and the journal differ on quarantine");
    x_story.quarantined += found.quarantined.size();
    for (std::uint32_t s = 0; s < x_on.work.shards.size(); ++s)
      if (!found.done.contains(s) && !found.quarantined.contains(s) && !waits(s))
        x_past.accuse("shard " + std::to_string(s) + " was left behind");
  }

  /// Held back by a shard in quarantine, maybe: encoded after a survey.
  bool waits(std::uint32_t s) const {
    const auto& shard = x_on.work.shards[s];
    return shard.what == actors::task::encode
           && x_on.work.tensors[shard.tensor].group != actors::work_tensor::no_group;
  }

  const ground& x_on;
  random_source x_random;
  simulated_disk x_disk;
  memory x_past;
  std::set<std::uint32_t> x_poison, x_rotten;
  std::uint64_t x_quarantined = 0;
  bool x_calm = false, x_published = false, x_done = false;
  std::string x_last_problem;
  story x_story;
};

/// The disk of a job that was told to stop with at least five shards durable and some not.
std::optional<simulated_disk> stopped_midway(const ground& on, const std::string& journal,
                                             random_source& random) {
  for (std::uint64_t event = 1; event < 400; ++event) {
    simulated_disk disk;
    memory past;
    hardship faults;
    faults.stop_at_event = event;
    simulated_life(on, disk, random, faults, past).live();
    if (disk.look(journal) != nullptr && past.acknowledged.size() >= 5)
      return disk;
  }
  return std::nullopt;
}

} // namespace

std::string resume_from_every_cut(const ground& on, std::uint64_t stride, std::uint64_t& cuts) {
  const auto journal = actors::journal_path(output_name);
  random_source random(1);
  const auto stopped = stopped_midway(on, journal, random);
  if (!stopped)
    return "no event stops the job in its midst";
  const auto* whole = stopped->look(journal);
  for (std::uint64_t bytes = 0; bytes <= whole->size(); bytes += stride, ++cuts) {
    auto disk = *stopped;
    disk.cut(journal, bytes);
    const bool opened = check_journal(*disk.look(journal), 0).frames > 0;
    memory now;
    simulated_life life(on, disk, random, {}, now);
    const auto end = life.live();
    const auto at = " where the journal was cut at byte " + std::to_string(bytes);
    if (opened != (end == life_end::answered))
      return (opened ? "no resume: " + life.refusal().text : "resumed without an opening") + at;
    const auto* output = disk.look(output_name);
    if (opened && (output == nullptr || *output != on.truth || !now.broken.empty()))
      return "other bytes" + at + ": " + now.broken;
  }
  return {};
}

story simulate(const ground& on, std::uint64_t seed) {
  return narrator(on, seed).tell();
}

} // namespace viva::faults
