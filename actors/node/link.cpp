#include "actors/node/link.hpp"

#include "actors/node/middleman.hpp"
#include "actors/node/remote_lane.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

namespace viva::actors::node {
namespace {

using self_ptr = caf::stateful_actor<link_state>*;
using supervision::fault;
using std::chrono::milliseconds;

struct find_node {};
struct assign_due {
  std::uint64_t join = 0;
};
struct ask_again {
  std::uint64_t join = 0;
};
struct start_again {
  std::uint64_t join = 0;
  std::uint32_t lane = 0;
};

constexpr milliseconds knock_patience{1'000}, answer_patience{5'000};
constexpr std::chrono::seconds assign_patience{120}; // it reads the headers of the whole source
constexpr milliseconds ask_every{500}, silent_after{3'000}, own_lag_min{300};
constexpr milliseconds again_min{100}, again_max{5'000}, again_refused{5'000};

} // namespace
} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::find_node)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::assign_due)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::ask_again)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::start_again)

namespace viva::actors::node {
namespace {

void tell(self_ptr self, word what, std::string body) {
  self->send(self->state.session, encode(letter{what, self->state.now, std::move(body)}));
}

/// Full jitter, so that many who lost the same node do not come back at one moment.
milliseconds before_next(link_state& state) {
  const auto longest = std::min(again_max, again_min * (1 << std::min(state.failures, 6u)));
  ++state.failures;
  return milliseconds{std::uniform_int_distribution<long>{longest.count() / 2,
                                                          longest.count()}(state.dice)};
}

void lose_seats(self_ptr self, const std::string& why) {
  for (auto& [lane, seat] : std::exchange(self->state.seats, {}))
    if (seat.who)
      self->send<caf::message_priority::high>(
        seat.who, lane_lost{supervision::make_error(fault::node_lost, why), no_shard});
}

/// Lets the node go, whatever it had, and looks for it again after `pause`.
void part(self_ptr self, board::state how, const std::string& why, milliseconds pause) {
  auto& state = self->state;
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
  state.options.nodes->note(state.name_of_node, how, why);
  self->delayed_send(self, pause, find_node{});
}

void lose_node(self_ptr self, const std::string& why) {
  part(self, board::state::away, why, before_next(self->state));
}

void refuse_node(self_ptr self, const std::string& why) {
  part(self, board::state::refused, why, again_refused);
}

/// A node that leaves, or is full just now, is asked again; the job need not end for it.
void heed(self_ptr self, const error& problem) {
  if (problem.code == errc::interrupted || retryable(problem.code))
    lose_node(self, problem.text);
  else
    refuse_node(self, problem.text);
}

void start_lane(self_ptr self, std::uint32_t lane) {
  auto& state = self->state;
  const auto join = state.now.join;
  const auto life = state.seats[lane].life;
  remote_lane_options options{state.name_of_node + "/lane-" + std::to_string(lane),
                              caf::actor_cast<caf::actor>(self), lane, life, join, {}};
  supervision::child_spec spec;
  spec.id = options.id;
  spec.restart = supervision::temporary;
  spec.start = [options, meters = state.options.meters](caf::event_based_actor* sup) mutable {
    options.meter = meters->hang(options.id);
    options.meter->begin_life();
    return supervision::spawn(sup, remote_lane, options);
  };
  const auto is_current = [self, lane, life, join] {
    const auto seat = self->state.seats.find(lane);
    return self->state.now.join == join && seat != self->state.seats.end()
           && seat->second.life == life;
  };
  self->request(state.options.lanes(), caf::infinite, supervision::start_child{std::move(spec)})
    .then(
      [self, lane, is_current](const supervision::started& up) {
        if (is_current()) {
          self->state.seats[lane].who = up.who;
          self->monitor(up.who);
          if (self->state.drains)
            self->send(up.who, lane_drains{});
        } else
          self->send(up.who, lane_lost{supervision::make_error(fault::node_lost), no_shard});
      },
      [self, lane, join, is_current](const caf::error&) { // the life before is not buried yet
        if (is_current())
          self->delayed_send(self, again_min, start_again{join, lane});
      });
}

caf::error reason_from(const lane_news& news) {
  if (news.fault == 0 || news.fault > static_cast<std::uint8_t>(fault::node_lost))
    return supervision::make_error(fault::killed, news.text);
  return supervision::make_error(static_cast<fault>(news.fault), news.text);
}

/// The node goes once its last session has.
void part_if_drained(self_ptr self) {
  if (self->state.drains && self->state.seats.empty())
    lose_node(self, "it was told to leave, and has done what it had");
}

void lane_went(self_ptr self, const lane_news& news) {
  const auto seat = self->state.seats.find(news.lane);
  if (seat == self->state.seats.end() || seat->second.life != news.life)
    return;
  if (seat->second.who)
    self->send(seat->second.who, lane_lost{reason_from(news), news.mark});
  self->state.seats.erase(seat);
  part_if_drained(self);
}

void begin_work(self_ptr self) {
  auto& state = self->state;
  state.assigned = true;
  state.failures = 0;
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
      if (!news || !state.assigned)
        return bad();
      if (state.drains)
        return;
      state.seats[news->lane] = {news->life, nullptr};
      return start_lane(self, news->lane);
    }
    case word::lane_down: {
      const auto news = decode_lane_news(from.body);
      return news ? lane_went(self, *news) : bad();
    }
    case word::receipts: {
      auto what = decode_parcel(from.body);
      if (!what)
        return bad();
      const auto seat = state.seats.find(what->lane);
      if (seat != state.seats.end() && seat->second.life == what->life && seat->second.who)
        self->send(seat->second.who, lane_heard{std::move(what->bytes)});
      return;
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

std::string hello_letter(const link_state& state, bool looks) {
  return encode(letter{word::hello, state.now, encode(hello{state.build, looks})});
}

/// Judges the silence so far, then asks once more.
void listen(self_ptr self, std::uint64_t join) {
  auto& state = self->state;
  if (!state.session || state.now.join != join)
    return;
  const auto now = std::chrono::steady_clock::now();
  if (const auto lag = now - state.asked - ask_every; lag > own_lag_min)
    state.heard += lag; // we were not run; it may have answered all the while
  state.asked = now;
  if (now - state.heard > silent_after)
    return lose_node(self, "silent for 3 s");
  self->request(state.reception, silent_after, hello_letter(state, true))
    .then(
      [self, join](const std::string&, const caf::actor&) {
        if (self->state.now.join == join)
          self->state.heard = std::chrono::steady_clock::now();
      },
      [](const caf::error&) {}); // its silence is judged above
  self->delayed_send(self, ask_every, ask_again{join});
}

void meet(self_ptr self, const std::string& answer, const caf::actor& session) {
  auto& state = self->state;
  const auto from = decode_letter(answer);
  const auto said = from && from->what == word::welcome ? decode_welcome(from->body)
                                                        : std::nullopt;
  if (!said)
    return refuse_node(self, "it answers, but not as a node of this version does");
  if (said->build != state.build)
    return refuse_node(self, "it is another build (" + said->build + "; this is " + state.build
                               + "); run the same viva everywhere");
  if (said->problem.code != errc::ok)
    return heed(self, said->problem);
  if (!session || from->of.incarnation == 0)
    return lose_node(self, "it gave no session");
  state.now.incarnation = from->of.incarnation;
  state.session = session;
  self->monitor<caf::message_priority::high>(session);
  tell(self, word::assign,
       encode(assign{state.options.site->assignment, state.options.site->faults}));
  self->delayed_send(self, assign_patience, assign_due{state.now.join});
  state.heard = state.asked = std::chrono::steady_clock::now();
  self->delayed_send(self, ask_every, ask_again{state.now.join});
}

/// An answer to what was asked when `join` was the count, and not since.
template <class Do>
void if_still(self_ptr self, std::uint64_t join, Do then) {
  if (self->state.now.join == join && !self->state.session)
    then();
}

void say_hello(self_ptr self, const caf::actor& reception) {
  const auto join = ++self->state.now.join;
  self->state.reception = reception;
  self->request(reception, answer_patience, hello_letter(self->state, false))
    .then(
      [self, join](const std::string& answer, const caf::actor& session) {
        if_still(self, join, [&] { meet(self, answer, session); });
      },
      [self, join](const caf::error& why) {
        if_still(self, join, [&] {
          lose_node(self, "no answer (" + supervision::to_text(why) + ")");
        });
      });
}

void look_for(self_ptr self) {
  const auto& where = self->state.options.where;
  if (auto there = knock(where, knock_patience); !there)
    return lose_node(self, there.error().text);
  const auto join = self->state.now.join;
  self
    ->request(connector(self->system()), answer_patience, caf::connect_atom::value, where.host,
              where.port)
    .then(
      [self, join](const caf::node_id&, const caf::strong_actor_ptr& who,
                   const std::set<std::string>&) {
        if_still(self, join, [&] {
          if (who)
            say_hello(self, caf::actor_cast<caf::actor>(who));
          else
            lose_node(self, "nobody receives there");
        });
      },
      [self, join](const caf::error& why) {
        if_still(self, join, [&] {
          lose_node(self, "no connection (" + supervision::to_text(why) + ")");
        });
      });
}

void pass_on(self_ptr self, const lane_says& what) {
  auto& state = self->state;
  const auto seat = state.seats.find(what.lane);
  if (!state.session || what.join != state.now.join || seat == state.seats.end()
      || seat->second.life != what.life)
    return; // it has been told, or will be, that it is lost
  // The conductor may be quicker than the supervisor with its word that the lane is started.
  seat->second.who = caf::actor_cast<caf::actor>(self->current_sender());
  tell(self, word::work, encode(parcel{what.lane, what.life, what.order}));
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

caf::behavior link(self_ptr self, link_options options) {
  auto& state = self->state;
  state.options = std::move(options);
  state.name_of_node = state.options.where.text();
  state.build = build_words(kernels::path::reference);
  state.now.epoch = own_incarnation();
  state.options.nodes->note(state.name_of_node, board::state::away, "not reached yet");
  self->set_down_handler([self](const caf::down_msg& down) { hear_of_end(self, down); });
  self->send(self, find_node{});
  return {
    [self](find_node) {
      if (!self->state.session)
        look_for(self);
    },
    [self](const assign_due& due) {
      if (self->state.session && self->state.now.join == due.join && !self->state.assigned)
        lose_node(self, "it did not take the job in time");
    },
    [self](const ask_again& what) { listen(self, what.join); },
    [self](const std::string& bytes) {
      const auto from = decode_letter(bytes);
      if (self->state.session && from && from->of == self->state.now)
        take_letter(self, *from);
    },
    [self](const lane_says& what) { pass_on(self, what); },
    [self](const lane_left& what) {
      const auto seat = self->state.seats.find(what.lane);
      if (what.join != self->state.now.join || seat == self->state.seats.end()
          || seat->second.life != what.life)
        return;
      self->state.seats.erase(seat);
      part_if_drained(self);
    },
    [self](const lane_distrusts& what) {
      if (self->state.session && what.join == self->state.now.join)
        lose_node(self, "it spoke nonsense: " + what.why);
    },
    [self](const start_again& what) {
      const auto seat = self->state.seats.find(what.lane);
      if (self->state.now.join == what.join && seat != self->state.seats.end()
          && !seat->second.who)
        start_lane(self, what.lane);
    },
  };
}

} // namespace viva::actors::node
