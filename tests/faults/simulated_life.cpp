#include "tests/faults/simulated_life.hpp"

#include "actors/durable.hpp"
#include "actors/output_claim.hpp"
#include "actors/resume.hpp"
#include "actors/shard_work.hpp"

#include <algorithm>

namespace viva::faults {

using namespace actors;

namespace {

constexpr std::uint64_t message_us = 300;  // the longest that one is on its way
constexpr std::uint64_t restart_us = 2000; // from a lane's end to its next life
constexpr std::uint64_t shard_us = 400;
constexpr std::uint64_t commit_every_us = 3000;
constexpr std::uint64_t events_max = 50'000; // an undisturbed life has some hundred

} // namespace

simulated_life::simulated_life(const ground& on, simulated_disk& disk, random_source& random,
                               hardship faults, memory& past)
    : x_ground(on), x_disk(disk), x_random(random), x_faults(std::move(faults)), x_past(past),
      x_folder_failures(disk.folder_syncs_failed()) {
}

life_end simulated_life::live() {
  try {
    if (!begin())
      return life_end::refused;
    loop();
  } catch (const process_killed&) {
    return life_end::killed;
  }
  if (!x_answered)
    return x_events_seen == x_faults.kill_at_event ? life_end::killed : life_end::endless;
  check_answer();
  return life_end::answered;
}

bool simulated_life::begin() {
  const auto refuse = [this](error why) {
    x_refusal = std::move(why);
    return false;
  };
  auto earlier = find_earlier(x_disk, output_name, x_ground.work.fingerprint, false);
  if (!earlier)
    return refuse(earlier.error());
  auto journal = journal_file::open(x_disk, journal_path(output_name),
                                    x_ground.work.fingerprint, earlier->journal, x_past.room);
  if (!journal)
    return refuse(journal.error());
  x_journal.emplace(std::move(*journal));
  if (x_faults.pardons) {
    if (auto pardoned = pardon(*earlier, *x_journal); !pardoned)
      return refuse(pardoned.error());
    x_past.strikes.clear();
  }
  auto place = earlier->named
                 ? workplace::revisit(x_ground.work, output_name, *earlier->named, x_disk)
                 : workplace::open(x_ground.work, output_name, nullptr, x_disk);
  if (!place)
    return refuse(place.error());
  x_place.emplace(std::move(*place));
  if (auto held = verify_earlier(*earlier, x_ground.work, *x_place, 1, nullptr); !held)
    return refuse(held.error());
  if (auto told = forget_damaged(*earlier, *x_journal); !told)
    return refuse(told.error());
  policy_options options;
  options.strikes_max = x_past.strikes_max;
  options.batch_bytes_max = x_past.batch_bytes_max;
  options.lost_runs = x_past.lost_runs;
  if (x_faults.strict)
    options.quarantine_max = 0;
  x_policy.emplace(x_ground.work, options, *earlier, &*x_place);
  for (std::uint32_t i = 0; i < x_past.lanes; ++i)
    later(message_us, [this, i] { raise_lane("lane-" + std::to_string(i)); });
  later(message_us, [this] { x_policy->start(); });
  return true;
}

void simulated_life::loop() {
  std::uint64_t next_tick = commit_every_us;
  while (!x_answered && x_events_seen < events_max && x_events_seen < x_faults.kill_at_event) {
    ++x_events_seen;
    ++x_past.events;
    if (x_events_seen == x_faults.stop_at_event)
      x_policy->stop();
    x_disk.full |= x_events_seen == x_faults.full_at_event;
    if (x_events.empty() || x_events.begin()->first > next_tick) {
      x_now = next_tick;
      next_tick += commit_every_us;
      x_policy->tick();
    } else {
      x_now = x_events.begin()->first;
      const auto what = std::move(x_events.extract(x_events.begin()).mapped());
      what();
    }
    obey();
  }
}

void simulated_life::later(std::uint64_t delay_max, std::function<void()> what) {
  x_events.emplace(x_now + chance(delay_max + 1), std::move(what));
}

std::uint64_t simulated_life::shard_time(const std::string& id) const {
  return id == x_faults.slow_lane ? 100 * shard_us : shard_us;
}

void simulated_life::obey() {
  for (auto& each : x_policy->take_commands())
    std::visit([this](auto& what) { carry_out(what); }, each);
}

// ---- lanes ----

void simulated_life::raise_lane(const std::string& id) {
  auto& which = x_lanes[id];
  which.up = true;
  which.busy = false;
  ++which.life;
  x_policy->lane_up(id);
}

void simulated_life::carry_out(hand_out& what) {
  check_handed_out(what);
  note_handed_out(what);
  x_past.copies += std::ranges::count_if(what.tasks, [&](const shard_task& each) {
    return std::ranges::any_of(x_lanes, [&](const auto& other) {
      return other.first != what.lane && holds(other.second, each.id.shard);
    });
  });
  later(message_us, [this, what, life = x_lanes[what.lane].life] {
    auto& which = x_lanes[what.lane];
    if (!which.up || which.life != life)
      return; // nobody hears it any more
    which.box.push_back(what);
    if (!std::exchange(which.busy, true))
      later(shard_time(what.lane), [this, id = what.lane, life] { step(id, life); });
  });
}

bool simulated_life::holds(const lane& which, std::uint32_t shard) {
  return std::ranges::any_of(which.box, [&](const hand_out& out) {
    return std::ranges::any_of(out.tasks,
                               [&](const shard_task& each) { return each.id.shard == shard; });
  });
}

/// A lane does the next task of its batch; at the batch's end it tells.
void simulated_life::step(const std::string& id, std::uint32_t life) {
  auto& which = x_lanes[id];
  if (!which.up || which.life != life)
    return;
  if (x_faults.cannot_plan)
    return die(id, no_shard);
  const auto& work = which.box.front();
  if (which.task == 0)
    which.receipt = {id, work.number, {}};
  if (!run_task(id, which, work.tasks[which.task]))
    return;
  const bool failed = which.receipt.shards.back().problem.code != errc::ok;
  if (++which.task == work.tasks.size() || failed) {
    for (bool again = false;; again = true) {
      later(again ? 100 * message_us : message_us,
            [this, told = which.receipt] {
              note_home(told);
              x_policy->take_receipt(told);
            });
      if (again || chance(100) >= x_faults.twice_percent)
        break;
    }
    which.task = 0;
    which.box.pop_front();
    if (chance(100) < x_faults.idle_deaths_percent)
      return die(id, no_shard);
  }
  which.busy = !which.box.empty();
  if (which.busy)
    later(shard_time(id), [this, id, life] { step(id, life); });
}

/// False where the lane died of it.
bool simulated_life::run_task(const std::string& id, lane& which, const shard_task& task) {
  const auto s = task.id.shard;
  const bool poisoned = x_faults.poison.contains(s);
  const bool dies = poisoned || chance(100) < x_faults.lane_deaths_percent;
  const auto writes = dies ? chance(4) : simulated_disk::never;
  ++x_past.shards_run;
  auto& tried = x_attempts[s];
  if (++tried.runs > 1 + tried.lost + std::min(tried.copies, 1u))
    x_past.accuse("shard " + std::to_string(s) + " is run again and no run of it was lost");
  x_at_work_on = s;
  x_disk.at_lane = true;
  x_disk.lane_writes_left = writes;
  shard_receipt receipt{task.id, 0, {}, {}};
  bool died = false;
  try {
    auto result = run_shard(x_ground.work, *x_place, x_ground.work.shards[s], task.numbers,
                            task.by);
    if (result) {
      receipt.checksum = result->checksum;
      receipt.findings = std::move(result->findings);
    } else {
      receipt.problem = result.error();
    }
  } catch (const lane_died&) {
    died = true;
  }
  x_disk.at_lane = false;
  if (died || dies) { // or when it had written all, before it could tell
    die(id, s);
    return false;
  }
  which.receipt.shards.push_back(std::move(receipt));
  return true;
}

void simulated_life::die(const std::string& id, std::uint32_t shard) {
  auto& which = x_lanes[id];
  which.up = false;
  which.box.clear();
  which.task = 0;
  ++x_past.lane_deaths;
  const bool poisoned = x_faults.poison.contains(shard);
  const bool blames = poisoned || chance(10) != 0;
  // What the supervisor says of one lane comes in its order; a receipt may overtake or be late.
  const auto down_at = x_now + chance(message_us);
  x_events.emplace(down_at, [this, id, shard, blames, poisoned] {
    if (poisoned)
      ++x_reported[shard];
    note_lost(id);
    x_policy->lane_down(id, {shard, blames, "simulated"});
  });
  x_events.emplace(down_at + 1 + chance(restart_us), [this, id] { raise_lane(id); });
}

void simulated_life::carry_out(open_isolation&) {
  const bool refused = x_faults.isolation_refusals > 0;
  x_faults.isolation_refusals -= refused ? 1 : 0;
  later(message_us, [this, refused] {
    if (refused)
      x_policy->isolation_refused("none to be had");
    else
      raise_lane(isolation_lane);
  });
}

void simulated_life::carry_out(end_lane& what) {
  later(message_us, [this, id = what.lane] {
    auto& which = x_lanes[id];
    if (!which.up)
      return; // and somebody says so
    which.up = false;
    which.box.clear();
    which.task = 0;
    later(message_us, [this, id] {
      note_lost(id);
      x_policy->lane_down(id, {no_shard, false, "told to end"});
    });
  });
}

// ---- journal ----

void simulated_life::carry_out(save& what) {
  check_tokens(what);
  x_for_journal.push_back([this, records = std::move(what.records)] {
    std::vector<journal_record> left_out;
    const auto done = make_durable(x_ground.work, *x_place, *x_journal, records, left_out);
    if (done || x_journal->sound())
      acknowledge(records, left_out);
    later(message_us, [this, left_out, problem = done ? error{} : done.error()] {
      x_policy->saved(problem, left_out);
    });
  });
  journal_next();
}

void simulated_life::carry_out(give_name& what) {
  check_nobody_writes();
  x_for_journal.push_back([this, late = std::move(what.late)] {
    const auto done = publish_output(*x_place, *x_journal, late, false, [](naming_step) {});
    if (done && !x_disk.durable(output_name))
      x_past.accuse("the output has its name and is not durable");
    later(message_us, [this, problem = done ? error{} : done.error()] {
      x_policy->named(problem);
    });
  });
  journal_next();
}

void simulated_life::journal_next() {
  if (x_journal_busy || x_for_journal.empty())
    return;
  x_journal_busy = true;
  later(message_us, [this] {
    const auto what = std::move(x_for_journal.front());
    x_for_journal.pop_front();
    what();
    x_journal_busy = false;
    journal_next();
  });
}

void simulated_life::acknowledge(const std::vector<journal_record>& records,
                                 const std::vector<journal_record>& left_out) {
  std::set<std::uint32_t> missing;
  x_past.left_out += left_out.size();
  for (const auto& each : left_out)
    if (const auto* done = std::get_if<done_record>(&each))
      missing.insert(done->shard);
    else
      x_past.accuse("a strike or quarantine did not fit into the reserve");
  for (const auto& each : records) {
    if (const auto* done = std::get_if<done_record>(&each); done && !missing.contains(done->shard))
      x_past.acknowledged.insert(done->shard);
    const auto* strike = std::get_if<strike_record>(&each);
    if (strike != nullptr && x_faults.poison.contains(strike->shard)) {
      ++x_past.strikes[strike->shard];
      ++x_written[strike->shard];
    }
  }
}

void simulated_life::carry_out(give_answer& what) {
  x_outcome = std::move(what.outcome);
  x_answered = true;
  if (x_outcome.problem.code != errc::ok)
    note_end(*x_journal, x_outcome.problem);
}

} // namespace viva::faults
