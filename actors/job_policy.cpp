#include "actors/job_policy.hpp"

#include "formats/layout.hpp"
#include "formats/shown.hpp"

#include <algorithm>

namespace viva::actors {
namespace {

constexpr std::uint32_t problems_listed_max = 8; // of quarantined shards, in one line
constexpr std::size_t reasons_told_max = 4;      // of one of them; the last
constexpr std::size_t reason_bytes_max = 1024;   // so that strikes fit into a journal's reserve

std::string short_of(const std::string& reason) {
  return reason.size() <= reason_bytes_max ? reason : reason.substr(0, reason_bytes_max) + "...";
}

} // namespace

job_policy::job_policy(const plan& work, policy_options options, const earlier_run& earlier,
                       const workplace* sources)
    : x_work(&work), x_options(options),
      x_book(static_cast<std::uint32_t>(work.shards.size()), options.strikes_max),
      x_findings(work, sources), x_by_load(options.credit_per_lane + 1) {
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
      note_problem(record.shard, {errc::malformed, "the journal holds findings that make no "
                                                   "sense; say --overwrite to start anew"});
  }
  for (const auto& record : earlier.strikes) {
    x_book.strike(record.shard);
    x_reasons[record.shard].push_back(record.reason);
  }
  for (const auto& record : earlier.quarantined) {
    x_book.quarantine(record.shard);
    if (!record.reasons.empty())
      x_reasons.try_emplace(record.shard, record.reasons);
  }
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
  for (const auto& out : orphans)
    for (const auto run : out.tickets)
      lose_run(run, death.blames_shard && run.shard == death.died_on, death);
  settle();
}

void job_policy::isolation_refused(const std::string& reason) {
  x_isolation_asked = false; // the next suspect asks again
  while (const auto run = x_book.take_suspect())
    lose_run(*run, true, {run->shard, true, "no lane of its own could be started: " + reason});
  settle();
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
  x_saving = false;
  if (problem.code != errc::ok)
    note_problem(0, std::move(problem));
  finish();
}

void job_policy::tick() {
  x_pace.tick();
  if (!x_over && !x_saving && !x_unsaved.empty() && x_outcome.problem.code == errc::ok)
    send_save();
  copy_late();
}

void job_policy::stop() {
  x_stopping = true;
  settle();
}

void job_policy::give_up(error why) {
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
    note_problem(0, quarantine_problem());
  if (!x_book.complete() || !x_work->writes())
    return finish();
  give_name what{x_findings.scales().texts()};
  for (const auto& late : x_work->late)
    what.late.emplace_back(
        late.where, formats::numbers_text(late.what, *x_work->tensors[late.tensor].target,
                                          late.source, x_findings.numbers()[late.tensor]));
  x_saving = true;
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
    const auto broken = x_device_deaths.find(run.shard);
    out.tasks.push_back({run, x_findings.numbers()[x_work->shards[run.shard].tensor],
                         x_findings.scales().told_to(run.shard),
                         lane != isolation_lane
                           && (broken == x_device_deaths.end()
                               || broken->second < x_options.device_deaths_max)});
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
    if (found == x_seats.end() && !x_isolation_asked) {
      x_isolation_asked = true;
      x_commands.emplace_back(open_isolation{});
    }
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

void job_policy::lose_run(ticket id, bool died_on_it, const lane_death& death) {
  const bool refused = died_on_it && death.refuses;
  const auto verdict = x_book.give_back(id, died_on_it && !refused);
  if (verdict == ledger::verdict::stale)
    return;
  if (refused)
    return note_problem(id.shard, {errc::job_failed, place_of(id.shard) + ": a lane refused them: "
                                                       + death.reason + "; check the source"});
  if (died_on_it) {
    x_reasons[id.shard].push_back(short_of(death.reason));
    x_device_deaths[id.shard] += death.of_device ? 1 : 0;
    remember(strike_record{id.shard, x_reasons[id.shard].back(), id.run});
  }
  if (verdict == ledger::verdict::quarantined)
    put_in_quarantine(id.shard);
  else if (verdict != ledger::verdict::elsewhere)
    ++x_outcome.retries;
}

void job_policy::put_in_quarantine(std::uint32_t s) {
  auto& all = x_reasons[s];
  const auto told = std::min(all.size(), reasons_told_max);
  remember(quarantine_record{s, place_of(s), {all.end() - std::ptrdiff_t(told), all.end()}});
  if (x_book.quarantined_count() > x_options.quarantine_max)
    note_problem(s, quarantine_problem());
}

void job_policy::take_one(const shard_receipt& receipt) {
  const auto s = receipt.id.shard;
  // Of a run that nobody needs any more a problem is nobody's, but that it came out otherwise.
  if (receipt.problem.code != errc::ok)
    return x_book.done(s) && receipt.problem.code != errc::job_failed
             ? void()
             : note_problem(s, receipt.problem);
  if (!agrees(s, receipt.checksum))
    return note_problem(s, {errc::job_failed,
                            place_of(s) + ": two runs gave different bytes, which neither the same "
                                          "program nor sound hardware does; check memory and disk "
                                          "before you say --overwrite to start anew"});
  if (!x_book.commit(s)) // the first run home wins
    return;
  x_stopping |= ++x_shards_home == x_options.interrupt_after;
  if (!count_done(s, receipt.findings))
    return note_problem(s, {errc::job_failed, "a lane told findings that make no sense; run the "
                                             "same command again to resume"});
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

void job_policy::note_problem(std::uint32_t shard, error why) {
  if (x_outcome.problem.code != errc::ok && x_problem_shard <= shard)
    return;
  x_problem_shard = shard;
  x_outcome.problem = std::move(why);
}

error job_policy::quarantine_problem() const {
  const auto all = x_book.quarantined();
  if (all.empty())
    return {errc::job_failed, "shards wait for what never comes: a defect of ours"};
  std::string text = std::to_string(all.size()) + " of " + std::to_string(x_work->shards.size())
                     + " shards are in quarantine: ";
  for (std::size_t i = 0; i < all.size() && i < problems_listed_max; ++i) {
    const auto reason = x_reasons.find(all[i]);
    text += (i == 0 ? "" : "; ") + place_of(all[i]) + ": "
            + std::to_string(x_book.strikes(all[i])) + " lanes died on them, the last of "
            + (reason == x_reasons.end() ? "a reason unknown" : reason->second.back());
  }
  if (all.size() > problems_listed_max)
    text += "; and " + std::to_string(all.size() - problems_listed_max) + " more";
  return {errc::job_failed, text + ". What is done is kept; the same command with "
                                   "--retry-quarantined runs them again"};
}

std::string job_policy::place_of(std::uint32_t s) const {
  const auto& shard = x_work->shards[s];
  return formats::shown(x_work->tensors[shard.tensor].name)
         + (shard.what == task::copy ? ": bytes " : ": rows ") // a copy's rows are its bytes
         + std::to_string(shard.first) + " to " + std::to_string(shard.first + shard.count);
}

std::size_t job_policy::in_flight() const {
  std::size_t total = 0;
  for (const auto& [id, out] : x_seats)
    total += out.size();
  return total;
}

} // namespace viva::actors
