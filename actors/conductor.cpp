#include "actors/conductor.hpp"

#include "actors/shard_work.hpp"
#include "formats/shown.hpp"
#include "supervision/reason.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>

#include <algorithm>

namespace viva::actors {
namespace {

using self_ptr = caf::stateful_actor<conductor_state>*;

const plan& work_of(self_ptr self) {
  return self->state.options.site->work;
}

void note_problem(self_ptr self, std::uint32_t shard, error why) {
  auto& state = self->state;
  if (state.outcome.problem.code != errc::ok && state.problem_shard <= shard)
    return;
  state.problem_shard = shard;
  state.outcome.problem = std::move(why);
}

// The last shard of a survey gives its tensors their numbers and lets their shards go.
void finish_survey(self_ptr self, std::uint32_t group) {
  auto& state = self->state;
  const auto& work = work_of(self);
  for (const auto t : work.groups[group]) {
    const auto& target = *work.tensors[t].target;
    state.numbers[t] = target.row->survey_finish(target, state.groups[group].seen);
  }
  for (const auto s : state.groups[group].held)
    state.book.release(s);
}

// Sums are 64 KiB a tensor, metrics a few numbers: they are folded as soon as the tensor is whole.
bool take_sums(self_ptr self, std::uint32_t tensor, const std::string& findings) {
  auto& measured = self->state.measured[tensor];
  kernels::error_sums sums;
  if (!kernels::error_sums::decode(findings, sums))
    return false;
  measured.sums.merge(sums);
  if (--measured.shards_left > 0)
    return true;
  self->state.outcome.errors[tensor] = kernels::finish(measured.sums);
  measured.sums = {};
  return true;
}

// What a shard found, whether it came home just now or stands in the journal.
bool take_findings(self_ptr self, std::uint32_t s, const std::string& findings) {
  auto& state = self->state;
  const auto& shard = work_of(self).shards[s];
  const auto& tensor = work_of(self).tensors[shard.tensor];
  switch (shard.what) {
    case task::scan: {
      auto& first = state.outcome.not_finite_at[shard.tensor];
      if (!findings.empty() && (first.empty() || std::stoull(findings) < std::stoull(first)))
        first = findings;
      return true;
    }
    case task::survey: {
      kernels::survey seen;
      if (!decode_survey(findings, seen))
        return false;
      auto& group = state.groups[tensor.group];
      group.seen.merge(seen);
      if (--group.shards_left == 0)
        finish_survey(self, tensor.group);
      return true;
    }
    case task::shares:
    case task::losses: {
      std::vector<std::uint32_t> freed;
      const auto& site = *state.options.site;
      const bool sound = state.scales.take(s, findings, site.place, freed);
      for (const auto each : freed)
        state.book.release(each);
      return sound;
    }
    case task::encode:
    case task::measure:
      return take_sums(self, shard.tensor, findings);
    case task::fold:
    case task::decode:
    case task::copy:
      return true;
  }
  return false;
}

void count_done(self_ptr self, std::uint32_t s) {
  const auto& site = *self->state.options.site;
  site.bytes_done += site.work.shards[s].source_bytes;
  ++site.shards_done;
}

void finish(self_ptr self) {
  auto& state = self->state;
  self->send(state.answer_to, std::move(state.outcome));
  self->quit();
}

void pump(self_ptr self);

template <class Request>
void ask_journal(self_ptr self, Request what, void (*then)(self_ptr)) {
  auto& state = self->state;
  state.commit_out = true;
  state.outcome.messages += 2;
  self->request(state.options.journal, caf::infinite, std::move(what))
    .then(
      [self, then](const journal_answer& answer) {
        self->state.commit_out = false;
        if (answer.problem.code != errc::ok)
          note_problem(self, 0, answer.problem);
        then(self);
      },
      [self, then](const caf::error& why) { // it died; the root restarts it, and this job ends
        self->state.commit_out = false;
        note_problem(self, 0, {errc::job_failed, "the journal was lost: "
                                                   + supervision::to_text(why)
                                                   + "; run the same command again to resume"});
        then(self);
      });
}

void send_commit(self_ptr self) {
  auto& state = self->state;
  ++state.outcome.commits;
  ask_journal(self, commit{state.options.site, std::exchange(state.uncommitted, {})}, pump);
}

void send_publish(self_ptr self) {
  const auto& work = work_of(self);
  publish what{self->state.options.site, self->state.scales.texts()};
  for (const auto& late : work.late)
    what.late.emplace_back(late.where,
                           formats::numbers_text(late.what, *work.tensors[late.tensor].target,
                                                 late.source, self->state.numbers[late.tensor]));
  ask_journal(self, std::move(what), finish);
}

std::size_t in_flight(self_ptr self) {
  std::size_t total = 0;
  for (const auto& [id, seat] : self->state.seats)
    total += seat.in_flight.size();
  return total;
}

// Nothing more is sent out: commit what came home, then answer.
void wind_down(self_ptr self) {
  auto& state = self->state;
  if (in_flight(self) > 0 || state.commit_out)
    return;
  const auto& problem = state.outcome.problem;
  const bool disk_is_bad = problem.code == errc::cannot_write || problem.code == errc::disk_full;
  if (!state.uncommitted.empty() && !disk_is_bad)
    return send_commit(self);
  if (problem.code == errc::ok)
    state.outcome.problem = {errc::interrupted,
                             "interrupted; run the same command again to resume"};
  finish(self);
}

// Small shards travel together, so that a checkpoint of many small tensors costs few messages. One
// whose run was lost travels alone: whatever kills lanes cannot take others down with it again.
batch next_batch(self_ptr self, const lane_mark& mark) {
  auto& state = self->state;
  const auto& work = work_of(self);
  batch made{state.options.site, state.outcome.batches, {}, mark,
             caf::actor_cast<caf::actor>(self)};
  for (std::uint64_t bytes = 0; const auto s = state.book.next();) {
    const bool alone = state.book.lost_before(*s);
    bytes += work.shards[*s].source_bytes;
    if (!made.tasks.empty() && (alone || bytes > state.options.batch_bytes_max))
      break;
    made.tasks.push_back({*state.book.take(), state.numbers[work.shards[*s].tensor],
                          state.scales.told_to(*s)});
    if (alone)
      break;
  }
  return made;
}

void hand_out(self_ptr self) {
  auto& state = self->state;
  for (;;) {
    conductor_state::seat* least = nullptr;
    for (auto& [id, seat] : state.seats)
      if (least == nullptr || seat.in_flight.size() < least->in_flight.size())
        least = &seat;
    if (least == nullptr || least->in_flight.size() >= state.options.credit_per_lane)
      return;
    auto next = next_batch(self, least->mark);
    if (next.tasks.empty())
      return;
    conductor_state::batch_out out{next.number, {}};
    for (const auto& task : next.tasks)
      out.tickets.push_back(task.id);
    least->in_flight.push_back(std::move(out));
    ++state.outcome.batches;
    ++state.outcome.messages;
    self->send(least->lane, std::move(next));
  }
}

// Every event ends here; nothing else sends tickets or commits.
void pump(self_ptr self) {
  auto& state = self->state;
  if (!state.running)
    return;
  if (state.stopping || state.outcome.problem.code != errc::ok)
    return wind_down(self);
  hand_out(self);
  if (!state.book.complete() || state.commit_out)
    return;
  if (!work_of(self).writes())
    return finish(self);
  state.uncommitted.empty() ? send_publish(self) : send_commit(self);
}

error given_up(self_ptr self, std::uint32_t s, const supervision::child_down& lost) {
  const auto& shard = work_of(self).shards[s];
  return {errc::job_failed,
          formats::shown(work_of(self).tensors[shard.tensor].name) + ": rows "
            + std::to_string(shard.first) + " to " + std::to_string(shard.first + shard.count)
            + ": " + std::to_string(self->state.options.attempts_max)
            + " lanes died on them, the last of " + supervision::to_text(lost.reason)
            + "; what is done is kept, the same command resumes"};
}

void lose_lane(self_ptr self, const supervision::child_down& lost) {
  auto& state = self->state;
  const auto seat = state.seats.find(lost.id);
  if (seat == state.seats.end())
    return;
  const auto orphans = std::move(seat->second.in_flight);
  const auto died_on = seat->second.mark->load();
  state.seats.erase(seat);
  for (const auto& out : orphans)
    for (const auto id : out.tickets) {
      const auto verdict = state.book.give_back(id, id.shard == died_on);
      if (verdict == ledger::verdict::again)
        ++state.outcome.retries;
      if (verdict == ledger::verdict::spent)
        note_problem(self, id.shard, given_up(self, id.shard, lost));
    }
}

void take_receipt(self_ptr self, const shard_receipt& receipt) {
  auto& state = self->state;
  const auto s = receipt.id.shard;
  if (receipt.problem.code != errc::ok)
    return note_problem(self, s, receipt.problem);
  if (!state.book.commit(s)) // the first run home wins
    return;
  count_done(self, s);
  const auto interrupt_after = state.options.site->faults.interrupt_after;
  state.stopping |= ++state.shards_home == interrupt_after;
  if (!take_findings(self, s, receipt.findings))
    return note_problem(self, s, {errc::job_failed, "a lane told findings that make no sense"});
  if (!work_of(self).writes())
    return;
  state.uncommitted.push_back({s, receipt.checksum, receipt.findings});
}

void take_batch_receipt(self_ptr self, const batch_receipt& receipt) {
  auto& state = self->state;
  ++state.outcome.messages;
  if (const auto seat = state.seats.find(receipt.lane); seat != state.seats.end())
    std::erase_if(seat->second.in_flight,
                  [&](const auto& out) { return out.number == receipt.number; });
  for (const auto& shard : receipt.shards)
    take_receipt(self, shard);
}

void prepare_book(self_ptr self) {
  auto& state = self->state;
  const auto& work = work_of(self);
  state.book = ledger{static_cast<std::uint32_t>(work.shards.size()), state.options.attempts_max};
  state.groups.resize(work.groups.size());
  state.numbers.resize(work.tensors.size());
  state.measured.resize(work.tensors.size());
  state.scales = scale_search(work);
  for (const auto s : state.scales.held())
    state.book.hold(s);
  state.outcome.errors.resize(work.tensors.size());
  state.outcome.not_finite_at.resize(work.tensors.size());
  for (std::uint32_t s = 0; s < work.shards.size(); ++s) {
    const auto& shard = work.shards[s];
    if (shard.what == task::encode || shard.what == task::measure)
      ++state.measured[shard.tensor].shards_left;
    const auto group = work.tensors[shard.tensor].group;
    if (group == work_tensor::no_group)
      continue;
    if (shard.what == task::survey) {
      ++state.groups[group].shards_left;
    } else {
      state.groups[group].held.push_back(s);
      state.book.hold(s);
    }
  }
  for (const auto& record : state.options.resumed)
    if (state.book.commit(record.shard)) {
      count_done(self, record.shard);
      ++state.outcome.shards_resumed;
      if (!take_findings(self, record.shard, record.findings))
        note_problem(self, record.shard,
                     {errc::malformed, "the journal holds findings that make no "
                                       "sense; say --overwrite to start anew"});
    }
}

} // namespace

caf::behavior conductor(self_ptr self, conductor_options options) {
  self->state.options = std::move(options);
  prepare_book(self);
  self->request(self->state.options.lanes, caf::infinite,
                supervision::subscribe{caf::actor_cast<caf::actor>(self)})
    .then([] {}, [self](const caf::error& why) { self->quit(why); });
  return {
    [self](const run_job& order) {
      self->state.answer_to = order.answer_to;
      self->state.running = true;
      self->delayed_send(self, self->state.options.commit_every, commit_tick{});
      pump(self);
    },
    [self](const supervision::child_up& up) {
      lose_lane(self, {up.id, {}}); // if its down message is still on the way
      self->state.seats[up.id] = {
        up.who, std::make_shared<std::atomic<std::uint32_t>>(no_shard), {}};
      pump(self);
    },
    [self](const supervision::child_down& down) {
      lose_lane(self, down);
      pump(self);
    },
    [self](const batch_receipt& receipt) {
      take_batch_receipt(self, receipt);
      pump(self);
    },
    [self](const stop_job&) {
      self->state.stopping = true;
      pump(self);
    },
    [self](const commit_tick&) {
      auto& state = self->state;
      if (!state.commit_out && !state.uncommitted.empty() && state.outcome.problem.code == errc::ok)
        send_commit(self);
      self->delayed_send(self, state.options.commit_every, commit_tick{});
    },
  };
}

} // namespace viva::actors
