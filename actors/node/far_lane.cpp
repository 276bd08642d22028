#include "actors/node/far_lane.hpp"

#include "actors/node/lent_lane.hpp"
#include "actors/pipeline/order_ranges.hpp"
#include "supervision/spawn.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace viva::actors::node {
namespace {

using self_ptr = caf::stateful_actor<far_lane_state>*;
using supervision::fault;
using supervision::milliseconds;

struct find_lane {};
struct far_frame { supervision::frame what; };
struct far_limit { milliseconds limit{0}; };
struct far_end { fault why = fault::shutdown; std::string words; };
struct far_life { std::uint64_t join = 0; life how = life::waiting; };
struct far_arrival { std::uint64_t join = 0; arrival what; };
struct far_look {};
struct loan_due { std::uint64_t join = 0; };

constexpr std::chrono::seconds loan_patience{15}; // its process has 10 to start
constexpr milliseconds look_every{500};

} // namespace
} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::find_lane)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::far_frame)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::far_limit)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::far_end)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::far_life)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::far_arrival)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::far_look)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::loan_due)

namespace viva::actors::node {

far_lane_state::~far_lane_state() {
  carries = nullptr; // afterwards nobody writes into regions
  if (watched != 0)
    options.node.watch->forget(watched);
  if (options.tell.on_end) // an exception: nobody was told
    options.tell.on_end({supervision::make_error(fault::exception, "a far lane failed"), 0});
}

namespace {

std::string name_of(self_ptr self) {
  return self->state.options.node.where.text();
}

void say(self_ptr self, word what, std::string body) {
  self->send(self->state.lane, encode(letter{what, self->state.now, std::move(body)}));
}

/// The end, told once and after the last byte. The node's lane hears that this one is gone.
void finish(self_ptr self, caf::error reason, std::uint64_t mark = 0) {
  auto& state = self->state;
  state.carries = nullptr;
  if (const auto tell = std::exchange(state.options.tell, {}).on_end)
    tell({std::move(reason), mark});
  self->quit();
}

/// What was met is of no use, or nothing was met: the end of this life, or the node is looked for
/// again.
void lose(self_ptr self, const error& why) {
  auto& state = self->state;
  const bool soon = may_be_over_soon(why);
  if (std::exchange(state.said, why.text) != why.text)
    spdlog::warn("node {}: {}", name_of(self), why.text);
  state.options.node.nodes->note(name_of(self), soon ? board::state::away : board::state::refused,
                                 why.text, state.options.node.lane);
  if (state.ready) {
    state.options.until_next->lost();
    return finish(self, supervision::make_error(fault::node_lost, name_of(self) + ": " + why.text));
  }
  state.carries = nullptr;
  if (state.watched != 0)
    state.options.node.watch->forget(std::exchange(state.watched, 0));
  if (state.lane) {
    self->demonitor(state.lane);
    self->send_exit(std::exchange(state.lane, nullptr), caf::exit_reason::user_shutdown);
  }
  self->delayed_send(self, soon ? state.options.until_next->next() : again_refused, find_lane{});
}

void nonsense(self_ptr self, const char* what) {
  lose(self, {errc::fault, std::string("it spoke nonsense: ") + what});
}

void begin(self_ptr self, const met_node& met) {
  auto& state = self->state;
  const auto& node = state.options.node;
  state.now = met.as;
  state.lane = met.session;
  self->monitor<caf::message_priority::high>(state.lane);
  const auto me = self->address(); // weak: threads may outlive it
  const auto post = [me](auto what) {
    if (const auto who = caf::actor_cast<caf::actor>(me); who)
      caf::anon_send(who, std::move(what));
  };
  state.carries = std::make_unique<courier>(
    courier_options{node.threads, bulk_port(node.where),
                    {met.as.incarnation, met.as.epoch, met.as.join}, node.security,
                    [self](std::uint32_t region) { return self->state.regions.at(region).file; },
                    [](std::uint32_t region) { return "region " + std::to_string(region); }},
    [post, join = met.as.join](const arrival& what) { post(far_arrival{join, what}); });
  state.watched = node.watch->watch(
    liveness_port(node.where), job_key{met.as.incarnation, met.as.epoch, met.as.join},
    [post, join = met.as.join](life how) { post(far_life{join, how}); });
  say(self, word::lend, encode(loan{attention_words()}));
  self->delayed_send(self, loan_patience, loan_due{met.as.join});
}

void look_for(self_ptr self) {
  meet_node(self, self->state.options.node.where, hello::wish::lane,
            [self](expected<met_node> met) {
              if (met)
                begin(self, *met);
              else
                lose(self, met.error());
            });
}

/// What the order reads, the node has not and the order itself does not make.
std::vector<byte_range> missing(far_lane_state& state, const std::vector<touched>& all) {
  std::vector<byte_range> result;
  std::map<std::uint32_t, range_set> made;
  for (const auto& each : all) {
    for (const auto& [file, offset, bytes] : each.reads) {
      auto& own = made[file];
      auto& of = state.regions[file];
      of.there.each_gap(offset, bytes, [&](std::uint64_t at, std::uint64_t count) {
        own.each_gap(at, count, [&](std::uint64_t from, std::uint64_t some) {
          result.push_back({file, from, some});
        });
      });
    }
    for (const auto& [file, offset, bytes] : each.writes)
      made[file].add(offset, bytes);
  }
  result = merged(std::move(result)); // steps may read the same
  for (const auto& [file, offset, bytes] : result)
    if (auto& of = state.regions[file]; of.stays)
      of.there.add(offset, bytes);
  return result;
}

void take_orders(self_ptr self, std::string bytes) {
  auto& state = self->state;
  const auto what = decode_tensors(bytes);
  if (!what)
    return finish(self, supervision::make_error(fault::protocol, "orders that are none"));
  std::vector<touched> all;
  far_lane_state::parcel_of_orders made;
  for (const auto& order : *what) {
    for (auto& each : ranges_of(order)) {
      made.writes.insert(made.writes.end(), each.writes.begin(), each.writes.end());
      all.push_back(std::move(each));
    }
    made.numbers.push_back(order.number);
  }
  made.writes = merged(std::move(made.writes));
  made.bytes = std::move(bytes);
  const auto number = made.numbers.front();
  state.frames.push_back(std::move(made));
  state.carries->bring(number, missing(state, all));
}

void take_frame(self_ptr self, const supervision::frame& what) {
  auto& state = self->state;
  if (!state.ready)
    return;
  if (what.kind == lane_kind::tensors) {
    auto bytes = unpack(what);
    return bytes ? take_orders(self, std::move(*bytes))
                 : finish(self, supervision::make_error(fault::oom, bytes.error().text));
  }
  if (const auto note = decode_region(what.payload)) {
    if (what.kind == lane_kind::share)
      state.regions[note->id] = {what.attached, note->stays, {}};
    else
      state.regions.erase(note->id);
  }
  say(self, word::frame, encode(passage{what.kind, what.payload}));
}

/// Orders go in their order, each once its bytes are there.
void send_orders(self_ptr self) {
  for (auto& each : self->state.frames) {
    if (!each.brought)
      return;
    if (!std::exchange(each.sent, true))
      say(self, word::frame, encode(passage{lane_kind::tensors, std::exchange(each.bytes, {})}));
  }
}

void hand_in(self_ptr self) {
  auto& state = self->state;
  while (!state.frames.empty() && state.frames.front().home) {
    auto receipts = pack(lane_kind::encoded, std::move(state.frames.front().receipts));
    state.frames.pop_front();
    if (!receipts)
      return finish(self, supervision::make_error(fault::oom, receipts.error().text));
    state.options.tell.on_frame(std::move(*receipts));
  }
}

/// The node has what was written in regions that stay.
void keep_there(far_lane_state& state, const std::vector<byte_range>& writes) {
  for (const auto& [file, offset, bytes] : writes)
    if (auto& of = state.regions[file]; of.stays)
      of.there.each_gap(offset, bytes, [&of](std::uint64_t at, std::uint64_t count) {
        of.there.add(at, count);
      });
}

void take_receipts(self_ptr self, passage&& what) {
  auto& state = self->state;
  const auto due = std::ranges::find_if(state.frames, [](const auto& each) {
    return each.receipts.empty();
  });
  const auto got = what.kind == lane_kind::encoded ? decode_encoded(what.bytes) : std::nullopt;
  if (!got || due == state.frames.end() || !due->sent
      || !std::ranges::equal(*got, due->numbers, {}, &tensor_receipt::number))
    return nonsense(self, "not what came of its orders");
  due->receipts = std::move(what.bytes);
  if (std::ranges::all_of(*got, [](const auto& each) { return each.problems.empty(); }))
    keep_there(state, due->writes);
  state.carries->fetch(due->numbers.front(), due->writes);
}

void take_arrival(self_ptr self, const arrival& what) {
  auto& state = self->state;
  const auto at = std::ranges::find(state.frames, what.number,
                                    [](const auto& each) { return each.numbers.front(); });
  if (at == state.frames.end())
    return;
  state.moved = std::chrono::steady_clock::now();
  if (what.problem.code == errc::over_budget) // as if the order had killed a process of ours
    return finish(self,
                  supervision::make_error(fault::oom, name_of(self) + ": " + what.problem.text),
                  what.number);
  if (what.problem.code != errc::ok)
    return lose(self, {errc::fault, what.problem.text});
  if (what.was == arrival::what::brought) {
    at->brought = true;
    return send_orders(self);
  }
  at->home = true;
  hand_in(self);
}

void take_letter(self_ptr self, const letter& from) {
  auto& state = self->state;
  switch (from.what) {
    case word::assigned: {
      const auto problem = decode_error(from.body);
      if (!problem || state.ready)
        return nonsense(self, "no answer to a loan");
      if (problem->code != errc::ok)
        return lose(self, *problem);
      state.ready = true;
      state.options.until_next->joined();
      state.options.node.nodes->note(name_of(self), board::state::up, {}, state.options.node.lane);
      return state.options.tell.on_ready();
    }
    case word::frame: {
      auto what = decode_passage(from.body);
      state.moved = std::chrono::steady_clock::now();
      return what ? take_receipts(self, std::move(*what)) : nonsense(self, "no frame");
    }
    case word::lane_down: {
      const auto news = decode_lane_news(from.body);
      if (!news || !state.ready)
        return nonsense(self, "no news of a lane");
      if (news->mark == 0) // no order is to blame: the next life waits
        state.options.until_next->lost();
      const auto known = news->fault != 0 && news->fault <= static_cast<int>(fault::node_lost);
      return finish(self,
                    supervision::make_error(known ? static_cast<fault>(news->fault) : fault::killed,
                                            name_of(self) + ": " + news->text),
                    news->mark);
    }
    case word::draining:
      return lose(self, {errc::interrupted, "it was told to leave"});
    default:
      return nonsense(self, "no letter for a borrower");
  }
}

void look(self_ptr self) {
  auto& state = self->state;
  state.looks = state.limit != milliseconds{0};
  if (!state.looks)
    return;
  if (std::chrono::steady_clock::now() - state.moved > state.limit)
    return finish(self, supervision::make_error(fault::stalled, name_of(self)
                                                                  + ": its work does not move"),
                  state.frames.empty() ? 0 : state.frames.front().numbers.front());
  self->delayed_send(self, look_every, far_look{});
}

void set_limit(self_ptr self, milliseconds limit) {
  auto& state = self->state;
  state.limit = limit;
  state.moved = std::chrono::steady_clock::now();
  if (limit != milliseconds{0} && !std::exchange(state.looks, true))
    self->delayed_send(self, look_every, far_look{});
}

caf::behavior far_lane(self_ptr self, far_lane_options options) {
  self->state.options = std::move(options);
  self->set_down_handler([self](const caf::down_msg& down) {
    if (self->state.lane && self->state.lane.address() == down.source)
      lose(self, {errc::fault, "lost (" + supervision::to_text(down.reason) + ")"});
  });
  self->set_exit_handler([self](const caf::exit_msg&) {
    finish(self, supervision::make_error(fault::shutdown, "nobody wants it any more"));
  });
  self->delayed_send(self, self->state.options.until_next->before_life(), find_lane{});
  return {
    [self](find_lane) { look_for(self); },
    [self](const far_frame& frame) { take_frame(self, frame.what); },
    [self](far_limit what) { set_limit(self, what.limit); },
    [self](const far_end& end) { finish(self, supervision::make_error(end.why, end.words)); },
    [self](const far_life& what) {
      if (self->state.lane && what.join == self->state.now.join && what.how == life::lost)
        lose(self, {errc::fault, "silent: no sign of life"});
    },
    [self](const far_arrival& what) {
      if (what.join == self->state.now.join)
        take_arrival(self, what.what);
    },
    [self](far_look) { look(self); },
    [self](loan_due due) {
      if (self->state.lane && due.join == self->state.now.join && !self->state.ready)
        lose(self, {errc::fault, "it did not lend a lane in time"});
    },
    [self](const std::string& bytes) {
      const auto from = decode_letter(bytes);
      if (self->state.lane && from && from->of == self->state.now)
        take_letter(self, *from);
    },
  };
}

class far_peer final : public lane_peer {
public:
  far_peer(caf::actor_system& system, far_node node, std::shared_ptr<pauses> until_next)
      : x_system(system), x_node(std::move(node)), x_until_next(std::move(until_next)) {
  }
  ~far_peer() override {
    if (x_who)
      supervision::urge_exit(x_who, {}, caf::exit_reason::user_shutdown);
  }
  void attach(supervision::process_events events) override {
    x_who = x_system.spawn(far_lane,
                           far_lane_options{x_node, x_until_next, std::move(events)});
  }
  void send(supervision::frame what) override {
    caf::anon_send(x_who, far_frame{std::move(what)});
  }
  void expect_progress(milliseconds limit) override {
    caf::anon_send(x_who, far_limit{limit});
  }
  void leave() override {
    kill(fault::shutdown, "told to leave");
  }
  void kill(fault why, std::string words) override {
    caf::anon_send<caf::message_priority::high>(x_who, far_end{why, std::move(words)});
  }

private:
  caf::actor_system& x_system;
  const far_node x_node;
  const std::shared_ptr<pauses> x_until_next;
  caf::actor x_who;
};

} // namespace

std::unique_ptr<lane_peer> make_far_lane(caf::actor_system& system, far_node node,
                                         std::shared_ptr<pauses> until_next) {
  return std::make_unique<far_peer>(system, std::move(node), std::move(until_next));
}

} // namespace viva::actors::node
