#include "actors/node/link_parts.hpp"
#include "actors/node/meeting.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

namespace viva::actors::node {
namespace {

using self_ptr = link_ptr;
using std::chrono::milliseconds;

struct find_node {};
struct assign_look {
  std::uint64_t join = 0;
  std::chrono::steady_clock::time_point until;
};
struct life_seen {
  std::uint64_t join = 0;
  life how = life::waiting;
};
struct carried {
  std::uint64_t join = 0;
  arrival what;
};
struct lanes_look {};
struct claims_moved {
  std::uint64_t join = 0;
};

constexpr std::chrono::seconds assign_patience{120}; // it reads the headers of the whole source
// Short: a message that is due later keeps its receiver, and a detached one's thread, until then.
constexpr milliseconds assign_look_every{250};
constexpr std::chrono::seconds lanes_look_every{1}; // the limits are counted in these

} // namespace
} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::find_node)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::assign_look)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::life_seen)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lanes_look)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::carried)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::claims_moved)

namespace viva::actors::node {

/// Where the link dies by itself the node is still there, with all that it was given.
link_state::~link_state() {
  if (options.nodes)
    leave_time_to_write();
  if (watched != 0)
    options.watch->forget(watched);
}

void link_state::leave_time_to_write() {
  const bool owes_any = std::ranges::any_of(seats, [](const auto& each) {
    return !each.second.owes.empty();
  });
  if (owes_any && !options.goods)
    options.nodes->let_go(board::clock::now() + liveness_times{}.lost_after);
}

namespace {

/// Lets the node go, whatever it had, and looks for it again after `pause`.
void part(self_ptr self, board::state how, const error& what, milliseconds pause) {
  const auto& why = what.text;
  auto& state = self->state;
  state.leave_time_to_write();
  state.fences.clear();
  state.carries = nullptr; // first: who gets those tickets next must be the only one that writes
  state.gone.clear();
  if (state.watched != 0)
    state.options.watch->forget(std::exchange(state.watched, 0));
  lose_seats(self, state.name_of_node + ": " + why);
  if (state.session) {
    self->demonitor(state.session);
    // Where it still lives it ends what it has with us, and knows no more of the job.
    self->send_exit(state.session, caf::exit_reason::user_shutdown);
  }
  state.session = nullptr;
  state.assigned = state.drains = false;
  state.now.incarnation = 0;
  spdlog::warn("node {}: {}", state.name_of_node, why);
  state.options.nodes->note(state.name_of_node, how, why, 0, what.code);
  self->delayed_send(self, pause, find_node{});
}

} // namespace

void tell(self_ptr self, word what, std::string body) {
  self->send(self->state.session, encode(letter{what, self->state.now, std::move(body)}));
}

void lose_node(self_ptr self, const std::string& why) {
  part(self, board::state::away, {errc::fault, why}, self->state.until_next.next());
}

void heed(self_ptr self, const error& problem) {
  if (may_be_over_soon(problem))
    lose_node(self, problem.text);
  else
    part(self, board::state::refused, {errc::job_failed, problem.text}, again_refused);
}

void heed_files(self_ptr self, const error& problem) {
  part(self, board::state::refused, problem, again_refused);
}

void heed_fences(self_ptr self, std::uint32_t lane) {
  const auto why = "lane " + std::to_string(lane) + " had to leave the job's files alone "
                   + std::to_string(fences_max)
                   + " times in a row, with nothing done in between: from what the node says until "
                     "it hears that it was heard pass more than "
                   + std::to_string(lease_length.count())
                   + " ms, too many to write into files that others write, too. Look at the "
                     "network there and back (ping), leave this node out of --nodes, or run "
                     "without --shared-fs: then only this machine writes";
  part(self, board::state::refused, {errc::timed_out, why}, again_refused);
}

namespace {

/// Lanes that ended meanwhile are told once nothing of theirs is on its way.
void tell_gone(self_ptr self) {
  for (const auto& [lane, each] : std::map(self->state.gone))
    lane_went(self, each.down);
}

void begin_work(self_ptr self) {
  auto& state = self->state;
  state.assigned = true;
  state.until_next.joined();
  spdlog::info("node {}: up", state.name_of_node);
  state.options.nodes->note(state.name_of_node, board::state::up);
}

void take_letter(self_ptr self, const letter& from) {
  auto& state = self->state;
  const auto bad = [&] { lose_node(self, "it spoke nonsense"); };
  switch (from.what) {
    case word::assigned: {
      const auto problem = decode_error(from.body);
      if (!problem)
        return bad();
      return problem->code == errc::ok ? begin_work(self) : heed(self, *problem);
    }
    case word::lane_up: {
      const auto news = decode_lane_news(from.body);
      return news && state.assigned && may_come(state, *news) ? lane_came(self, *news) : bad();
    }
    case word::lane_down: {
      const auto news = decode_lane_news(from.body);
      return news ? lane_went(self, *news) : bad();
    }
    case word::receipts: {
      auto what = decode_parcel(from.body);
      return what ? take_receipts(self, std::move(*what)) : bad();
    }
    case word::ready: {
      const auto which = decode_turn(from.body);
      if (which)
        note_progress(state, which->number);
      return which && state.carries ? mind(self, state.carries->ready(*which)) : bad();
    }
    case word::draining:
      state.drains = true;
      for (const auto& [lane, seat] : state.seats)
        if (seat.who)
          self->send(seat.who, lane_drains{});
      return part_if_drained(self);
    default:
      return bad();
  }
}

/// From here on the node must show signs of life.
void watch_node(self_ptr self) {
  auto& state = self->state;
  const auto me = self->address(); // weak: the watch outlives it
  state.watched = state.options.watch->watch(
    liveness_port(state.options.where),
    job_key{state.now.incarnation, state.now.epoch, state.now.join},
    [me, join = state.now.join](life how) {
      if (const auto who = caf::actor_cast<caf::actor>(me); who)
        caf::anon_send<caf::message_priority::high>(who, life_seen{join, how});
    });
}

/// Errands of this session, over connections of its own.
void begin_errands(self_ptr self) {
  auto& state = self->state;
  const auto& [epoch, incarnation, join] = state.now;
  const auto me = self->address(); // weak: threads may outlive it
  const auto post = [me](auto what) {
    if (const auto who = caf::actor_cast<caf::actor>(me); who)
      caf::anon_send(who, std::move(what));
  };
  auto by = std::make_unique<courier>(
    courier_options{state.options.threads, bulk_port(state.options.where),
                    {incarnation, epoch, join}, state.options.security,
                    [goods = state.options.goods](std::uint32_t n) { return goods->files[n]; },
                    [goods = state.options.goods](std::uint32_t n) {
                      return goods->names[n].string();
                    }},
    [post, number = join](const arrival& what) { post(carried{number, what}); });
  state.carries = std::make_unique<errands>(
    state.options.site, state.options.goods, state.options.of_job, std::move(by),
    errands::hooks{[self](word what, std::string body) { tell(self, what, std::move(body)); },
                   [self](std::uint32_t lane, std::uint32_t life, std::uint64_t batch,
                          std::string receipts) {
                     const auto seat = self->state.seats.find(lane);
                     if (seat != self->state.seats.end() && seat->second.life == life)
                       seat->second.owes.erase(batch); // which the node may never have had
                     deliver(self, lane, life, std::move(receipts));
                   },
                   [post, number = join] { post(claims_moved{number}); }});
}

void begin_session(self_ptr self, const met_node& node) {
  auto& state = self->state;
  state.now = node.as;
  state.session = node.session;
  state.lanes_there = node.lanes;
  self->monitor<caf::message_priority::high>(state.session);
  assign what{state.options.site->assignment, state.options.site->faults};
  if (state.options.goods) {
    what.files = state.options.goods->list;
    begin_errands(self);
  }
  tell(self, word::assign, encode(what));
  self->send(self, assign_look{state.now.join,
                               std::chrono::steady_clock::now() + assign_patience});
  watch_node(self);
}

void look_for(self_ptr self) {
  meet_node(self, self->state.options.where, hello::wish::job, [self](expected<met_node> node) {
    if (node)
      begin_session(self, *node);
    else
      heed(self, node.error());
  });
}

/// Of the session: the node is lost. Of a remote lane that was told nothing: nobody would start
/// another while this node's life lasts, so it is met anew.
void hear_of_end(self_ptr self, const caf::down_msg& down) {
  const auto& state = self->state;
  const auto is = [&](const caf::actor& who) { return who && who.address() == down.source; };
  if (is(state.session))
    return lose_node(self, "lost (" + supervision::to_text(down.reason) + ")");
  if (supervision::ending_of(down.reason) != supervision::ending::shutdown
      && std::ranges::any_of(state.seats, [&](const auto& seat) { return is(seat.second.who); }))
    lose_node(self, "what spoke for a lane of it was lost ("
                      + supervision::to_text(down.reason) + ")");
}

} // namespace

namespace {

/// Asks a link to look, as long as it lives. Of its own, because a message that is due later keeps
/// its receiver, and this one has no thread that would be kept.
caf::behavior metronome(caf::event_based_actor* self, const caf::actor_addr& whom) {
  self->monitor(whom);
  self->set_down_handler([self](const caf::down_msg&) { self->quit(); });
  self->delayed_send(self, lanes_look_every, lanes_look{});
  return {[self, whom](lanes_look) {
    // The next one behind its answer: of a link that stood still for a while none wait in line.
    const auto again = [self] { self->delayed_send(self, lanes_look_every, lanes_look{}); };
    if (const auto who = caf::actor_cast<caf::actor>(whom); who)
      self->request(who, caf::infinite, lanes_look{})
        .then(again, [self](const caf::error&) { self->quit(); });
  }};
}

} // namespace

caf::behavior link(self_ptr self, link_options options) {
  auto& state = self->state;
  state.options = std::move(options);
  state.name_of_node = state.options.where.text();
  state.options.nodes->note(state.name_of_node, board::state::away, "not reached yet");
  self->set_down_handler([self](const caf::down_msg& down) { hear_of_end(self, down); });
  self->send(self, find_node{});
  self->spawn(metronome, self->address());
  return {
    [self](find_node) {
      if (!self->state.session)
        look_for(self);
    },
    [self](const assign_look& what) {
      if (!self->state.session || self->state.now.join != what.join || self->state.assigned)
        return;
      if (std::chrono::steady_clock::now() > what.until)
        return lose_node(self, "it did not take the job in time");
      self->delayed_send(self, assign_look_every, what);
    },
    [self](const life_seen& what) {
      if (self->state.session && self->state.now.join == what.join && what.how == life::lost)
        lose_node(self, "silent: no sign of life on port "
                          + std::to_string(liveness_port(self->state.options.where).port));
    },
    [self](const carried& what) {
      if (!self->state.carries || self->state.now.join != what.join)
        return;
      note_progress(self->state, what.what.number);
      mind(self, self->state.carries->arrived(what.what));
      tell_gone(self);
    },
    [self](claims_moved what) {
      if (self->state.carries && self->state.now.join == what.join)
        self->state.carries->look_again();
    },
    [self](const std::string& bytes) {
      const auto from = decode_letter(bytes);
      if (self->state.session && from && from->of == self->state.now)
        take_letter(self, *from);
      else if (from) // so many as were under way
        spdlog::info("node {}: a letter of an earlier meeting is dropped",
                     self->state.name_of_node);
    },
    [self](const lane_says& what) { pass_on(self, what); },
    [self](const lane_left& what) { lane_left_us(self, what); },
    [self](const lane_distrusts& what) {
      if (self->state.session && what.join == self->state.now.join)
        lose_node(self, "it spoke nonsense: " + what.why);
    },
    [self](const start_again& what) { start_again_lane(self, what); },
    [self](lanes_look) { look_at_lanes(self); },
  };
}

} // namespace viva::actors::node
