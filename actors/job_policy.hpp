#pragma once

// Job policy: everything the conductor decides. Pure: events in, commands out; no actor, thread,
// clock or file, so a table can test it and a simulation can run it a thousand times a minute.
//
//   events     start, lane_up, lane_down, take_receipt, saved, named, tick, stop …
//   commands   hand_out   a batch to a lane           save        records to the journal
//              give_name  the output is whole         give_answer the job is over
//              end_lane   nobody needs its work
//              open_isolation                         a lane that runs suspects, one at a time
//
// A shard that was at work when `strikes_max` lanes died runs once more, alone, on the isolation
// lane; a death there puts it into quarantine. The job goes on without it and ends as failed.
// One on which `device_deaths_max` devices broke is computed by processors from then on. What else
// lanes end of, and a lane that is not to be had, is borne for a while (lane_trouble.hpp).
//
// A receipt counts while its batch is out: one of a lane that is known to have ended, or that came
// before, is nobody's. So no work is committed from a life behind its end.
//
// Where nothing is left to be handed out, a lane without work gets a copy of what another has had
// for too long (pace.hpp): a slow machine must not keep a job waiting. The first run home wins.
// Before the output gets its name nobody may write into it any more, of a source that may be
// another by then: lanes that still have a run that lost are ended, or waited for.

#include "actors/findings.hpp"
#include "actors/job_command.hpp"
#include "actors/journal_record.hpp"
#include "actors/lane_trouble.hpp"
#include "actors/pace.hpp"
#include "actors/policy_options.hpp"
#include "actors/receipt.hpp"
#include "actors/shard_deaths.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace viva::actors {

class job_policy {
public:
  /// `work` and `sources`, null where nothing is scaled, must outlive it. `earlier`: durable shards
  /// whose bytes were verified, and the strikes and quarantined shards of earlier lives.
  job_policy(const plan& work, policy_options options, const earlier_run& earlier,
             const workplace* sources = nullptr);

  void start();
  void lane_up(const std::string& id);
  void lane_down(const std::string& id, const lane_death& death);
  void isolation_refused(const std::string& reason); ///< The lane asked for could not be started.
  void take_receipt(const batch_receipt& receipt);
  /// Answers save. ok, disk_full: durable, but for those `left_out`.
  void saved(error problem, std::vector<journal_record> left_out = {});
  void named(error problem); ///< Answers give_name.
  void tick();               ///< From time to time: the records so far are to be saved.
  void give_up(error why);   ///< The job has a problem that is none of a shard.
  void stop();               ///< Hands out nothing more; the answer follows when all is home.

  /// What is to be done now, in this order. Empty after the answer.
  std::vector<command> take_commands() {
    return std::exchange(x_commands, {});
  }

  std::uint64_t bytes_done() const noexcept {
    return x_bytes_done;
  }
  std::uint32_t shards_done() const noexcept {
    return x_book.done_count();
  }

private:
  struct batch_out {
    std::uint64_t number = 0;
    std::vector<ticket> tickets;
  };
  using seat = std::vector<batch_out>; ///< What is at work or waits at one lane's door.

  void settle();
  bool losers_at_work();
  void name_output();
  void wind_down();
  void send_save();
  void finish();
  void hand_out_all();
  bool hand_out_next(const std::string& lane, std::vector<ticket> tickets);
  void reseat(const std::string& lane, std::size_t from, std::size_t to);
  void copy_late();
  std::vector<ticket> late_tickets();
  std::vector<ticket> next_tickets();
  bool lose_run(ticket id, bool died_on_it, const lane_death& death);
  void take_one(const shard_receipt& receipt);
  bool agrees(std::uint32_t shard, std::uint64_t checksum);
  void remember(journal_record record);
  bool count_done(std::uint32_t shard, const std::string& findings);
  void note_problem(std::uint32_t shard, std::optional<error> why);
  void note_trouble(std::optional<error> why);
  std::size_t in_flight() const;

  const plan* x_work;
  policy_options x_options;
  ledger x_book;
  pace x_pace;
  std::uint64_t x_bytes = 0, x_bytes_copied = 0; ///< Of source: of the job, and run twice.
  findings_book x_findings;
  std::map<std::string, seat> x_seats; ///< By lane id; only lanes believed alive.
  /// Of those but the isolation lane, by the batches that they have: of a thousand lanes the one
  /// with the least is found without a look at each.
  std::vector<std::set<std::string>> x_by_load;
  shard_deaths x_deaths;
  lane_trouble x_trouble;
  std::set<std::string> x_told_to_end;
  std::map<std::uint32_t, std::uint64_t> x_checksums; ///< Of a shard's first run home, ever.
  std::vector<journal_record> x_unsaved;
  std::uint64_t x_unsaved_bytes = 0, x_bytes_done = 0;
  bool x_saving = false, x_running = false, x_stopping = false, x_over = false;
  bool x_naming = false; ///< All is done and durable: it ends well unless the name cannot be given.
  bool x_journal_lost = false, x_left_out_before = false;
  std::uint32_t x_shards_home = 0;  ///< Of this life, not those resumed.
  std::uint32_t x_problem_shard = ~0u; ///< The lowest shard with a problem speaks for the job.
  job_outcome x_outcome;
  std::vector<command> x_commands;
};

} // namespace viva::actors
