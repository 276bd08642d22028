#pragma once

// Simulated life: one process that works on the job, from its start to its answer or its death.
//
// Everything that decides and everything that writes is the code that ships: the plan, job_policy,
// run_shard, the journal, the resume, the publishing. Simulated are the disk, the clock, and who
// speaks when: lanes, their supervisor and the journal's actor are queues of events, whose order
// one random source decides.

#include "actors/job_policy.hpp"
#include "actors/journal_file.hpp"
#include "actors/workplace.hpp"
#include "tests/faults/ground.hpp"
#include "tests/faults/simulated_disk.hpp"

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace viva::faults {

/// What a life is to suffer; nothing by default.
struct hardship {
  std::uint64_t lane_deaths_percent = 0; ///< Of runs of a shard.
  std::uint64_t idle_deaths_percent = 0; ///< Of receipts, after which the lane dies.
  std::set<std::uint32_t> poison;        ///< Shards that kill whatever runs them.
  std::uint64_t twice_percent = 0; ///< Of receipts, which come a second time, perhaps much later.
  std::string slow_lane; ///< Each shard takes it a hundred times as long.
  std::uint32_t isolation_refusals = 0; ///< As often no isolation lane is to be had.
  bool cannot_plan = false; ///< Lanes die of every batch before they begin it, for ever.
  bool strict = false, pardons = false;
  std::uint64_t kill_at_event = ~0ull, stop_at_event = ~0ull, full_at_event = ~0ull;
};

/// What is known over all lives: the promises that were made.
struct memory {
  std::uint32_t strikes_max = 2, lanes = 2;
  std::uint64_t batch_bytes_max = 4096;
  actors::losers lost_runs = actors::losers::awaited;
  std::set<std::uint32_t> acknowledged; ///< Shards that somebody was told are durable.
  std::map<std::uint32_t, std::uint32_t> strikes; ///< Acknowledged, of poisoned shards.
  actors::journal_room room;
  std::uint64_t lane_deaths = 0, shards_run = 0, copies = 0, events = 0;
  std::uint64_t left_out = 0; ///< Records that did not fit on a full disk.
  std::string broken; ///< The first law that was broken, in words.

  void accuse(const std::string& what) {
    if (broken.empty())
      broken = what;
  }
};

enum class life_end : std::uint8_t { answered, refused, killed, endless };

class simulated_life {
public:
  simulated_life(const ground& on, simulated_disk& disk, random_source& random, hardship faults,
                 memory& past);

  /// Runs it. `refused` where what an earlier life left cannot be resumed; `problem` says why.
  life_end live();
  const actors::job_outcome& outcome() const noexcept {
    return x_outcome;
  }
  const error& refusal() const noexcept {
    return x_refusal;
  }
  std::uint32_t at_work_on() const noexcept {
    return x_at_work_on;
  }

private:
  struct lane {
    std::deque<actors::hand_out> box;
    std::size_t task = 0; ///< Of the first of them.
    actors::batch_receipt receipt;
    std::uint32_t life = 0;
    bool up = false, busy = false;
  };

  bool begin(); ///< False where refused.
  void loop();
  void later(std::uint64_t delay_max, std::function<void()> what);
  std::uint64_t shard_time(const std::string& id) const;
  std::uint64_t chance(std::uint64_t of) {
    return x_random() % of;
  }
  void obey();
  void carry_out(actors::hand_out& what);
  void carry_out(actors::save& what);
  void carry_out(actors::give_name& what);
  void carry_out(actors::open_isolation& what);
  void carry_out(actors::end_lane& what);
  void carry_out(actors::give_answer& what);
  void raise_lane(const std::string& id);
  void step(const std::string& id, std::uint32_t life);
  static bool holds(const lane& which, std::uint32_t shard);
  bool run_task(const std::string& id, lane& which, const actors::shard_task& task);
  void die(const std::string& id, std::uint32_t shard);
  void journal_next();
  void acknowledge(const std::vector<actors::journal_record>& records,
                   const std::vector<actors::journal_record>& left_out);
  void check_handed_out(const actors::hand_out& what);
  void note_handed_out(const actors::hand_out& what);
  void note_home(const actors::batch_receipt& told);
  void note_lost(const std::string& id);
  void check_tokens(const actors::save& what);
  void check_nobody_writes();
  void check_answer();

  const ground& x_ground;
  simulated_disk& x_disk;
  random_source& x_random;
  hardship x_faults;
  memory& x_past;
  std::optional<actors::journal_file> x_journal;
  std::optional<actors::workplace> x_place;
  std::optional<actors::job_policy> x_policy;
  std::multimap<std::uint64_t, std::function<void()>> x_events; ///< By time, in microseconds.
  std::uint64_t x_now = 0, x_events_seen = 0;
  std::map<std::string, lane> x_lanes;
  std::map<std::string, std::uint64_t> x_told; ///< When the lane supervisor last spoke of one.
  std::deque<std::function<void()>> x_for_journal;
  bool x_journal_busy = false, x_answered = false;
  std::uint32_t x_at_work_on = actors::no_shard;
  std::map<std::uint32_t, std::uint32_t> x_reported, x_written; ///< Strikes of poisoned shards.
  /// Runs that are out, by shard and number, with the lane that has them, as the policy was told;
  /// and those that came home from a lane which it had no reason to call dead.
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::string> x_out;
  std::set<std::pair<std::uint32_t, std::uint32_t>> x_home;
  struct attempts {
    std::uint32_t runs = 0, lost = 0, copies = 0;
  };
  std::map<std::uint32_t, attempts> x_attempts; ///< By shard.
  actors::job_outcome x_outcome;
  error x_refusal;
  std::uint64_t x_folder_failures = 0; ///< Before this life.
};

} // namespace viva::faults
