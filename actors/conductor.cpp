#include "actors/conductor.hpp"

#include "supervision/reason.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>

namespace viva::actors {
namespace {

using self_ptr = caf::stateful_actor<conductor_state>*;

void obey(self_ptr self);

/// An order to the journal; its answer goes to the policy by `event`.
template <class Request, class Event>
void ask_journal(self_ptr self, Request what, Event event) {
  self->request(self->state.options.journal, caf::infinite, std::move(what))
    .then(
      [self, event](const journal_answer& answer) {
        event(*self->state.policy, answer);
        obey(self);
      },
      [self, event](const caf::error& why) { // it died; the root restarts it, and this job ends
        event(*self->state.policy,
              journal_answer{{errc::job_failed, "the journal was lost: " + supervision::to_text(why)
                                                  + "; run the same command again to resume"}});
        obey(self);
      });
}

void carry_out(self_ptr self, hand_out& what) {
  auto& seat = self->state.seats[what.lane];
  self->send(seat.lane, batch{self->state.options.site, what.number, std::move(what.tasks),
                              seat.mark, caf::actor_cast<caf::actor>(self)});
}

void carry_out(self_ptr self, save& what) {
  ask_journal(self, commit{self->state.options.site, std::move(what.records)},
              [](job_policy& policy, const journal_answer& answer) {
                policy.saved(answer.problem, answer.left_out);
              });
}

void ask_for_name(self_ptr self, publish what) {
  ask_journal(self, std::move(what), [](job_policy& policy, const journal_answer& answer) {
    policy.named(answer.problem);
  });
}

/// Once nobody writes into the output any more.
void name_when_alone(self_ptr self, publish what) {
  const auto& strays = self->state.options.strays;
  const auto wait = strays ? strays() : std::chrono::milliseconds{0};
  if (wait.count() > 0)
    self->delayed_send(self, wait, std::move(what));
  else
    ask_for_name(self, std::move(what));
}

void carry_out(self_ptr self, give_name& what) {
  name_when_alone(self, publish{self->state.options.site, std::move(what.late)});
}

void carry_out(self_ptr self, const open_isolation&) {
  self->request(self->state.options.lanes, caf::infinite,
                supervision::start_child{self->state.options.isolation})
    .then([](const supervision::started&) {}, // child_up brings it
          [self](const caf::error& why) {
            self->state.policy->isolation_refused(supervision::to_text(why));
            obey(self);
          });
}

/// One of the two has it; that it ended is told as of any lane.
void carry_out(self_ptr self, const end_lane& what) {
  const auto& options = self->state.options;
  for (const auto& lanes : {options.lanes, options.devices})
    if (lanes)
      self->request(lanes, caf::infinite, supervision::terminate_child{what.lane})
        .then([] {}, [](const caf::error&) {});
}

void carry_out(self_ptr self, give_answer& what) {
  self->send(self->state.answer_to, std::move(what.outcome));
  self->quit();
}

/// Does what the policy decided upon the last event.
void obey(self_ptr self) {
  auto& policy = *self->state.policy;
  const auto& site = *self->state.options.site;
  site.bytes_done = policy.bytes_done();
  site.shards_done = policy.shards_done();
  for (auto& each : policy.take_commands())
    std::visit([self](auto& what) { carry_out(self, what); }, each);
}

lane_death death_of(const conductor_state::seat& seat, const caf::error& reason) {
  return {seat.mark->load(),
          supervision::blame_of(reason) == supervision::blame::work,
          supervision::to_text(reason),
          supervision::is(reason, supervision::fault::device_sticky),
          supervision::is(reason, supervision::fault::bad_input)};
}

void lose_lane(self_ptr self, const supervision::child_down& lost) {
  auto& seats = self->state.seats;
  const auto seat = seats.find(lost.id);
  if (seat == seats.end())
    return;
  const auto death = death_of(seat->second, lost.reason);
  seats.erase(seat);
  self->state.policy->lane_down(lost.id, death);
}

void seat_lane(self_ptr self, const supervision::child_up& up) {
  self->state.seats[up.id] = {up.who,
                              std::make_shared<std::atomic<std::uint32_t>>(no_shard)};
  self->state.policy->lane_up(up.id);
}

} // namespace

caf::behavior conductor(self_ptr self, conductor_options options) {
  self->state.options = std::move(options);
  const auto& kept = self->state.options;
  self->state.policy.emplace(kept.site->work, kept.policy, kept.earlier,
                             &kept.site->place);
  for (const auto& lanes : {kept.lanes, kept.devices})
    if (lanes)
      self->request(lanes, caf::infinite,
                    supervision::subscribe{caf::actor_cast<caf::actor>(self)})
        .then([] {}, [self](const caf::error& why) { self->quit(why); });
  return {
    [self](const run_job& order) {
      self->state.answer_to = order.answer_to;
      self->state.policy->start();
      self->delayed_send(self, self->state.options.commit_every, commit_tick{});
      obey(self);
    },
    [self](const supervision::child_up& up) {
      seat_lane(self, up);
      obey(self);
    },
    [self](const supervision::child_down& down) {
      lose_lane(self, down);
      obey(self);
    },
    [self](const batch_receipt& receipt) {
      self->state.policy->take_receipt(receipt);
      obey(self);
    },
    [self](const stop_job&) {
      self->state.policy->stop();
      obey(self);
    },
    [self](const fail_job& order) {
      self->state.policy->give_up(order.why);
      obey(self);
    },
    [self](publish& order) { name_when_alone(self, std::move(order)); },
    [self](const commit_tick&) {
      self->state.policy->tick();
      obey(self);
      self->delayed_send(self, self->state.options.commit_every, commit_tick{});
    },
  };
}

} // namespace viva::actors
