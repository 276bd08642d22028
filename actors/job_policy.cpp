#include "actors/job_policy.hpp"

#include "formats/layout.hpp"

namespace viva::actors {

job_policy::job_policy(const plan& work, policy_options options, const earlier_run& earlier,
                       const workplace* sources)
    : x_work(&work), x_options(options),
      x_book(static_cast<std::uint32_t>(work.shards.size()), options.strikes_max),
      x_findings(work, sources), x_by_load(options.credit_per_lane + 1), x_deaths(work, earlier),
      x_trouble(options) {
  for (const auto& each : work.shards)
    x_bytes += each.source_bytes;
  for (const auto s : x_findings.held())
    x_book.hold(s);
  for (const auto& record : earlier.damaged)
    agrees(record.shard, record.checksum);
  for (const auto& record : earlier.done) {
    agrees(record.shard, record.checksum);
    if (!x_book.commit(record.shard))
      continue;
    ++x_outcome.shards_resumed;
    if (!count_done(record.shard, record.findings))
      note_problem(record.shard, error{errc::malformed, "the journal holds findings that make no "
                                                   "sense; say --overwrite to start anew"});
  }
  for (const auto& record : earlier.strikes)
    x_book.strike(record.shard);
  for (const auto& record : earlier.quarantined)
    x_book.quarantine(record.shard);
}

void job_policy::start() {
  x_running = true;
  settle();
}

void job_policy::lane_up(const std::string& id) {
  lane_down(id, {no_shard, false, {}}); // of a former life, if nobody told
  x_seats[id] = {};
  if (id != isolation_lane)
    x_by_load[0].insert(id);
  else
    x_trouble.isolation_up();
  settle();
}

void job_policy::lane_down(const std::string& id, const lane_death& death) {
  const auto found = x_seats.find(id);
  if (found == x_seats.end())
    return;
  const auto orphans = std::move(found->second);
  x_seats.erase(found);
  for (auto& each : x_by_load)
    each.erase(id);
  for (const auto& out : orphans)
    x_pace.gone(out.number);
  bool struck = false;
  for (const auto& out : orphans)
    for (const auto run : out.tickets)
      struck |= lose_run(run, death.blames_shard && run.shard == death.died_on, death);
  if (!struck && x_told_to_end.erase(id) == 0)
    note_trouble(x_trouble.ended(id, death.reason));
  settle();
}

void job_policy::isolation_refused(const std::string& reason) {
  x_trouble.isolation_refused(reason);
}

void job_policy::take_receipt(const batch_receipt& receipt) {
  ++x_outcome.messages;
  const auto found = x_seats.find(receipt.lane);
  if (found == x_seats.end())
    return;
  const auto had = found->second.size();
  const auto is_it = [&](const batch_out& out) { return out.number == receipt.number; };
  if (std::erase_if(found->second, is_it) == 0)
    return;
  x_pace.home(receipt.number);
  x_trouble.came_home();
  reseat(receipt.lane, had, found->second.size());
  for (const auto& shard : receipt.shards)
    take_one(shard);
  settle();
}

void job_policy::saved(error problem, std::vector<journal_record> left_out) {
  x_saving = false;
  x_journal_lost |= problem.code != errc::ok && problem.code != errc::disk_full;
  if (problem.code != errc::ok)
    note_problem(0, std::move(problem));
  if (!left_out.empty() && std::exchange(x_left_out_before, true))
    x_outcome.problem.text += "; " + std::to_string(left_out.size())
                              + " records did not fit, their shards are computed again";
  else // once more, with what comes home until the end: there may be space again
    x_unsaved.insert(x_unsaved.begin(), left_out.begin(), left_out.end());
  settle();
}

void job_policy::named(error problem) {
  x_saving = x_naming = false;
  if (problem.code != errc::ok)
    note_problem(0, std::move(problem));
  finish();
}

void job_policy::tick() {
  x_pace.tick();
  if (!x_over && !x_saving && !x_unsaved.empty() && x_outcome.problem.code == errc::ok)
    send_save();
  if (x_running && !x_over) {
    const bool alone = x_book.has_suspects() && !x_seats.contains(isolation_lane);
    note_trouble(x_trouble.tick(alone, x_seats.empty() && !x_book.idle()));
    settle();
  }
  copy_late();
}

/// Of lanes, where the job has no problem of its own yet: that one it would end with without them.
void job_policy::note_trouble(std::optional<error> why) {
  if (x_outcome.problem.code == errc::ok)
    note_problem(0, std::move(why));
}

void job_policy::stop() {
  x_stopping = true;
  settle();
}

void job_policy::give_up(error why) {
  if (x_naming)
    return;
  note_problem(0, std::move(why));
  settle();
}

// Every event ends here; nothing else saves or ends, and only `copy_late` hands out, too.
void job_policy::settle() {
  if (!x_running || x_over)
    return;
  if (x_stopping || x_outcome.problem.code != errc::ok)
    return wind_down();
  if (x_unsaved_bytes > x_options.unsaved_bytes_max && !x_saving)
    send_save();
  if (x_unsaved_bytes <= x_options.unsaved_bytes_max)
    hand_out_all();
  if (!x_book.idle() || x_saving)
    return;
  if (!x_unsaved.empty())
    return send_save();
  if (!x_book.complete())
    note_problem(0, x_deaths.problem(x_book));
  if (!x_book.complete() || !x_work->writes())
    return finish();
  if (!losers_at_work())
    name_output();
}

/// All shards are done, and yet some lane may write: the same bytes, unless its source changes now,
/// behind the last look at it. What it brings meanwhile is compared (`take_one`).
bool job_policy::losers_at_work() {
  if (x_options.lost_runs == losers::harmless || in_flight() == 0)
    return false;
  if (x_options.lost_runs == losers::ended)
    for (const auto& [lane, has] : x_seats)
      if (!has.empty() && x_told_to_end.insert(lane).second)
        x_commands.emplace_back(end_lane{lane});
  return true;
}

void job_policy::name_output() {
  give_name what{x_findings.scales().texts()};
  for (const auto& late : x_work->late)
    what.late.emplace_back(
        late.where, formats::numbers_text(late.what, *x_work->tensors[late.tensor].target,
                                          late.source, x_findings.numbers()[late.tensor]));
  x_saving = x_naming = true;
  x_outcome.messages += 2;
  x_commands.emplace_back(std::move(what));
}

// Nothing more is handed out: save what came home, then answer.
void job_policy::wind_down() {
  if (in_flight() > 0 || x_saving)
    return;
  if (!x_unsaved.empty() && !x_journal_lost)
    return send_save();
  if (x_outcome.problem.code == errc::ok)
    x_outcome.problem = {errc::interrupted, "interrupted; run the same command again to resume"};
  finish();
}

void job_policy::send_save() {
  x_saving = true;
  ++x_outcome.commits;
  x_outcome.messages += 2;
  x_unsaved_bytes = 0;
  x_commands.emplace_back(save{std::exchange(x_unsaved, {})});
}

void job_policy::finish() {
  x_over = true;
  x_outcome.errors = std::move(x_findings.errors());
  x_outcome.not_finite_at = std::move(x_findings.not_finite_at());
  x_outcome.shards_quarantined = x_book.quarantined_count();
  x_commands.emplace_back(give_answer{std::move(x_outcome)});
}

// Small shards travel together, so that a checkpoint of many small tensors costs few messages. One
// whose run was lost travels alone: whatever kills lanes cannot take others down with it again.
std::vector<ticket> job_policy::next_tickets() {
  std::vector<ticket> tickets;
  for (std::uint64_t bytes = 0; const auto s = x_book.next();) {
    const bool alone = x_book.lost_before(*s);
    bytes += x_work->shards[*s].source_bytes;
    if (!tickets.empty() && (alone || bytes > x_options.batch_bytes_max))
      break;
    tickets.push_back(*x_book.take());
    if (alone)
      break;
  }
  return tickets;
}

bool job_policy::hand_out_next(const std::string& lane, std::vector<ticket> tickets) {
  if (tickets.empty())
    return false;
  hand_out out{lane, x_outcome.batches, {}};
  std::uint64_t bytes = 0;
  for (const auto run : tickets) {
    bytes += x_work->shards[run.shard].source_bytes;
    out.tasks.push_back({run, x_findings.numbers()[x_work->shards[run.shard].tensor],
                         x_findings.scales().told_to(run.shard),
                         lane != isolation_lane
                           && x_deaths.of_devices(run.shard) < x_options.device_deaths_max});
  }
  x_pace.out(out.number, bytes);
  auto& at = x_seats[lane];
  at.push_back({out.number, std::move(tickets)});
  reseat(lane, at.size() - 1, at.size());
  ++x_outcome.batches;
  ++x_outcome.messages;
  x_commands.emplace_back(std::move(out));
  return true;
}

void job_policy::hand_out_all() {
  if (x_book.has_suspects()) {
    const auto found = x_seats.find(isolation_lane);
    if (found == x_seats.end() && x_trouble.asks_for_isolation())
      x_commands.emplace_back(open_isolation{});
    if (found != x_seats.end() && found->second.empty())
      hand_out_next(isolation_lane, {*x_book.take_suspect()});
  }
  for (std::size_t load = 0; load < x_options.credit_per_lane;) {
    if (x_by_load[load].empty())
      ++load;
    else if (hand_out_next(std::string(*x_by_load[load].begin()), next_tickets()))
      load = 0;
    else
      return;
  }
}

void job_policy::reseat(const std::string& lane, std::size_t from, std::size_t to) {
  if (lane != isolation_lane && from != to)
    x_by_load[to].insert(x_by_load[from].extract(lane));
}

void job_policy::copy_late() {
  const bool may = x_options.copies && x_running && !x_over && !x_stopping
                   && x_outcome.problem.code == errc::ok
                   && x_unsaved_bytes <= x_options.unsaved_bytes_max;
  if (!may || x_book.next())
    return;
  const auto idle = x_by_load[0]; // a copy: they get work
  for (const auto& lane : idle)
    if (!hand_out_next(lane, late_tickets()))
      return;
}

/// Of the first batch that is late and has no copy; none once a tenth of the job is run twice.
std::vector<ticket> job_policy::late_tickets() {
  std::vector<ticket> copies;
  for (const auto& [lane, has] : x_seats)
    for (const auto& out : has) {
      if (lane == isolation_lane || !x_pace.late(out.number) || x_bytes_copied >= x_bytes / 10)
        continue;
      for (const auto run : out.tickets)
        if (const auto copy = x_book.take_copy(run.shard)) {
          copies.push_back(*copy);
          x_bytes_copied += x_work->shards[run.shard].source_bytes;
        }
      x_outcome.copies += copies.size();
      if (!copies.empty())
        return copies;
    }
  return copies;
}

/// True where it cost the shard a strike.
bool job_policy::lose_run(ticket id, bool died_on_it, const lane_death& death) {
  const bool refused = died_on_it && death.refuses;
  const auto verdict = x_book.give_back(id, died_on_it && !refused);
  if (verdict == ledger::verdict::stale)
    return false;
  if (refused) {
    note_problem(id.shard, error{errc::job_failed, place_of(*x_work, id.shard)
                                                + ": a lane refused them: " + death.reason
                                                + "; check the source"});
    return false;
  }
  if (died_on_it)
    remember(x_deaths.note(id, death.reason, death.of_device));
  if (verdict == ledger::verdict::quarantined) {
    remember(x_deaths.evidence(id.shard));
    if (x_book.quarantined_count() > x_options.quarantine_max)
      note_problem(id.shard, x_deaths.problem(x_book));
  } else if (verdict != ledger::verdict::elsewhere) {
    ++x_outcome.retries;
  }
  return died_on_it;
}

void job_policy::take_one(const shard_receipt& receipt) {
  const auto s = receipt.id.shard;
  // Of a run that nobody needs any more a problem is nobody's, but that it came out otherwise.
  if (receipt.problem.code != errc::ok)
    return x_book.done(s) && receipt.problem.code != errc::job_failed
             ? void()
             : note_problem(s, receipt.problem);
  if (!agrees(s, receipt.checksum))
    return note_problem(s, error{errc::job_failed,
                                 place_of(*x_work, s)
                                   + ": two runs gave different bytes, which neither the same "
                                     "program nor sound hardware does; check memory and disk "
                                     "before you say --overwrite to start anew"});
  if (!x_book.commit(s)) // the first run home wins
    return;
  x_stopping |= ++x_shards_home == x_options.interrupt_after;
  if (!count_done(s, receipt.findings))
    return note_problem(s, error{errc::job_failed, "a lane told findings that make no sense; run "
                                                   "the same command again to resume"});
  if (x_work->writes())
    x_unsaved_bytes += receipt.findings.size();
  remember(done_record{s, receipt.checksum, receipt.findings, receipt.id.run});
}

// A second run of a shard must bring what the first did: a check of the machine that costs nothing.
bool job_policy::agrees(std::uint32_t s, std::uint64_t checksum) {
  return !x_work->writes() || x_checksums.try_emplace(s, checksum).first->second == checksum;
}

void job_policy::remember(journal_record record) {
  if (x_work->writes())
    x_unsaved.push_back(std::move(record));
}

bool job_policy::count_done(std::uint32_t s, const std::string& findings) {
  x_bytes_done += x_work->shards[s].source_bytes;
  std::vector<std::uint32_t> released;
  const bool sense = x_findings.take(s, findings, released);
  for (const auto each : released)
    x_book.release(each);
  return sense;
}

void job_policy::note_problem(std::uint32_t shard, std::optional<error> why) {
  if (!why || (x_outcome.problem.code != errc::ok && x_problem_shard <= shard))
    return;
  x_problem_shard = shard;
  x_outcome.problem = std::move(*why);
}

std::size_t job_policy::in_flight() const {
  std::size_t total = 0;
  for (const auto& [id, out] : x_seats)
    total += out.size();
  return total;
}

} // namespace viva::actors
