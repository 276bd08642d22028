#include "actors/node/session.hpp"

#include "actors/node/node_site.hpp"
#include "actors/site_gone.hpp"
#include "supervision/reason.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

namespace viva::actors::node {
namespace {

using self_ptr = caf::stateful_actor<session_state>*;

struct flush {};
struct job_due {};
struct lease_look {};
constexpr std::chrono::seconds job_patience{30};
// Short: a message that is due later keeps its receiver, and a detached one's thread, until then.
constexpr std::chrono::milliseconds lease_look_every{100};

} // namespace
} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::flush)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::job_due)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lease_look)

namespace viva::actors::node {

session_state::~session_state() {
  if (has_right)
    options.facts->rights->end(options.with.epoch, options.with.join);
  for (const auto& [id, each] : seats)
    if (site && each.who)
      caf::anon_send(each.who, site_gone{site});
}

namespace {

void tell(self_ptr self, word what, std::string body) {
  const auto& options = self->state.options;
  self->send(options.link, encode(letter{what, options.with, std::move(body)}));
}

/// The job is open, or it cannot be.
void answer_job(self_ptr self, expected<site_ptr> made) {
  const auto problem = made ? error{} : made.error();
  tell(self, word::assigned, encode(problem));
  if (!made) {
    spdlog::warn("a job was refused: {}", problem.text);
    return self->quit();
  }
  self->state.site = std::move(*made);
  for (const auto& [id, seat] : self->state.seats)
    if (seat.who)
      tell(self, word::lane_up, encode(lane_news{seat.number, seat.life, 0, no_shard, {}}));
}

/// On files that the coordinator sees, too.
expected<site_ptr> open_shared(session_state& state, const assign& what) {
  const auto& options = state.options;
  const auto& [epoch, incarnation, join] = options.with;
  auto right = options.facts->rights->grant(epoch, join, options.since);
  if (!right)
    return tl::unexpected(right.error());
  state.has_right = true;
  return open_site(what, *options.facts, std::move(*right));
}

/// Its files first, then what planning reads of them, then the plan.
void take_job(self_ptr self, assign&& what) {
  auto& state = self->state;
  const auto& facts = *state.options.facts;
  if (!what.files)
    return answer_job(self, open_shared(state, what));
  if (!facts.stores->root)
    return answer_job(self, tl::unexpected(facts.no_room));
  const auto& with = state.options.with;
  auto made = dock::open(facts.stores, {with.incarnation, with.epoch, with.join}, *what.files);
  if (!made)
    return answer_job(self, tl::unexpected(made.error()));
  state.copies = std::move(*made);
  state.job = std::move(what);
  tell(self, word::ready, encode(turn{}));
}

/// A receipt is worth nothing before its bytes would survive this machine, whose cache the
/// coordinator's sync does not reach. All that came home meanwhile shares one.
void send_receipts(self_ptr self) {
  auto& state = self->state;
  state.flushes = false;
  if (state.unsent.empty())
    return;
  // Copies need not last: the coordinator fetches what was written, and syncs it.
  const auto synced = state.copies ? expected<void>{} : state.site->place.sync();
  for (auto& each : std::exchange(state.unsent, {})) {
    if (!synced) {
      auto all = *decode_receipts(each.bytes);
      all.shards.resize(1);
      all.shards[0].receipt.problem = synced.error();
      each.bytes = encode(all);
    }
    tell(self, word::receipts, encode(each));
  }
}

void take_receipt(self_ptr self, const batch_receipt& receipt) {
  auto& state = self->state;
  const auto seat = state.seats.find(receipt.lane);
  if (seat == state.seats.end() || !seat->second.who)
    return;
  work_receipts all{receipt.number, 0, {}};
  for (const auto& shard : receipt.shards)
    all.shards.push_back({shard, shard.took});
  if (state.copies)
    state.copies->offer(receipt.number);
  seat->second.in_hand -= seat->second.in_hand > 0 ? 1 : 0;
  state.unsent.push_back({seat->second.number, seat->second.life, encode(all)});
  if (!std::exchange(state.flushes, true))
    self->send(self, flush{}); // behind the receipts that wait already
}

void begin_life(self_ptr self, session_state::seat& seat) {
  ++seat.life;
  seat.mark = std::make_shared<std::atomic<std::uint32_t>>(no_shard);
  seat.in_hand = 0;
  if (self->state.site)
    tell(self, word::lane_up, encode(lane_news{seat.number, seat.life, 0, no_shard, {}}));
}

void seat_lane(self_ptr self, const supervision::child_up& up) {
  auto& state = self->state;
  const auto number = static_cast<std::uint32_t>(state.seats.size());
  const auto [found, is_new] = state.seats.try_emplace(up.id);
  auto& seat = found->second;
  if (is_new)
    seat.number = number;
  seat.who = up.who;
  begin_life(self, seat);
}

bool may_write(const session_state& state) {
  const auto& right = state.site->place.right();
  return !right || !state.site->work.writes() || right->holds();
}

void lose_lane(self_ptr self, const supervision::child_down& down) {
  auto& state = self->state;
  const auto seat = state.seats.find(down.id);
  if (seat == state.seats.end() || !seat->second.who)
    return;
  if (state.site) {
    send_receipts(self); // of work that it did before
    const auto& lost = seat->second;
    auto [fault, words] = supervision::plain(down.reason);
    if (fault == static_cast<std::uint8_t>(supervision::fault::fenced) && may_write(state))
      fault = static_cast<std::uint8_t>(supervision::fault::killed); // by another job's lease
    tell(self, word::lane_down, encode(lane_news{lost.number, lost.life, fault, lost.mark->load(),
                                                 std::move(words)}));
  }
  seat->second.who = nullptr;
}

/// Null where a lane can be given this: its shards are the plan's, and what they are told has the
/// size that a lane will read.
const char* refuse(const session_state& state, const work_order& order) {
  for (const auto& [task, fault] : order.tasks)
    if (task.id.shard >= state.site->work.shards.size())
      return "a shard that the plan has not";
    else if (!fits(state.site->work, task.id.shard, task.by))
      return "numbers of a search that are not as many as their shard needs";
    else if (fault != lane_fault::none)
      return "a fault on purpose, which a job has from its beginning";
  return order.tasks.empty() ? "no tasks" : nullptr;
}

void distrust(self_ptr self, const char* why) {
  spdlog::warn("a coordinator spoke nonsense: {}", why);
  self->quit(supervision::make_error(supervision::fault::protocol, why));
}

/// Null where that life is over: its end has been told.
session_state::seat* seat_of(session_state& state, std::uint32_t lane, std::uint32_t life) {
  for (auto& [id, seat] : state.seats)
    if (seat.number == lane && seat.life == life && seat.who)
      return &seat;
  return nullptr;
}

void give_now(self_ptr self, const session_state::expected_work& what) {
  auto* seat = seat_of(self->state, what.lane, what.life);
  if (seat == nullptr)
    return;
  batch work{self->state.site, what.order.number, {}, seat->mark,
             caf::actor_cast<caf::actor>(self)};
  for (const auto& each : what.order.tasks)
    work.tasks.push_back(each.task);
  ++seat->in_hand;
  self->send(seat->who, std::move(work));
}

void give_lane(self_ptr self, session_state::expected_work what) {
  auto& held = self->state.held;
  if (held.empty() && may_write(self->state))
    return give_now(self, what);
  if (held.empty())
    self->delayed_send(self, lease_look_every, lease_look{});
  held.push_back({std::move(what), std::chrono::steady_clock::now()});
}

/// Told as a life that ended, and the next one. What the lane itself has in hand must be none: it
/// would be told as that of another life.
void give_back(self_ptr self, session_state::seat& seat) {
  constexpr auto fenced = static_cast<std::uint8_t>(supervision::fault::fenced);
  send_receipts(self); // of work that it did before
  tell(self, word::lane_down,
       encode(lane_news{seat.number, seat.life, fenced, no_shard,
                        "its coordinator is not heard, or does not hear this node; nothing of the "
                        "work was begun"}));
  begin_life(self, seat);
}

/// Gives lanes what waited, if they may write; else what waited too long back.
void look_at_held(self_ptr self) {
  auto& state = self->state;
  if (may_write(state))
    for (const auto& each : std::exchange(state.held, {}))
      give_now(self, each.what);
  const auto late = std::chrono::steady_clock::now() - held_max;
  for (const auto& [what, since] : std::deque(state.held))
    if (auto* seat = seat_of(state, what.lane, what.life);
        seat != nullptr && seat->in_hand == 0 && since < late)
      give_back(self, *seat);
  std::erase_if(state.held, [&](const auto& each) {
    return seat_of(state, each.what.lane, each.what.life) == nullptr;
  });
  if (!state.held.empty())
    self->delayed_send(self, lease_look_every, lease_look{});
}

void take_work(self_ptr self, const parcel& what) {
  auto& state = self->state;
  auto order = decode_order(what.bytes);
  const char* why = !state.site ? "work before a job" : !order ? "not work" : refuse(state, *order);
  if (why != nullptr)
    return distrust(self, why);
  if (!state.copies)
    return give_lane(self, {what.lane, what.life, std::move(*order)});
  std::vector<std::uint32_t> shards;
  for (const auto& each : order->tasks)
    shards.push_back(each.task.id.shard);
  const auto number = order->number;
  if (!state.copies->begin(number, state.site->work, shards))
    return distrust(self, "a batch that it gave before");
  state.coming[number] = {what.lane, what.life, std::move(*order)};
  tell(self, word::ready, encode(turn{number}));
}

void take_arrival(self_ptr self, turn what) {
  auto& state = self->state;
  if (what.number == turn::of_job && state.job) {
    state.copies->keep_seeds();
    const auto job = *std::exchange(state.job, std::nullopt);
    return answer_job(self, open_site(job, *state.options.facts, *state.copies));
  }
  const auto found = state.coming.find(what.number);
  if (found == state.coming.end() || !state.copies->arrived(what.number))
    return distrust(self, "a batch came that was not on its way");
  auto work = std::move(found->second);
  state.coming.erase(found);
  give_lane(self, std::move(work));
}

void let_go(self_ptr self, turn what) {
  if (!self->state.copies)
    return distrust(self, "it let go what it never gave");
  self->state.coming.erase(what.number);
  self->state.copies->end(what.number);
}

/// False where it is no letter for a session.
bool heed(self_ptr self, const letter& from) {
  auto& state = self->state;
  if (from.what == word::assign && !state.site && !state.job) {
    auto job = decode_assign(from.body);
    if (job)
      take_job(self, std::move(*job));
    return job.has_value();
  }
  if (from.what == word::work) {
    const auto work = decode_parcel(from.body);
    if (work)
      take_work(self, *work);
    return work.has_value();
  }
  const auto which = decode_turn(from.body);
  if (which && from.what == word::brought)
    take_arrival(self, *which);
  else if (which && from.what == word::let_go)
    let_go(self, *which);
  else
    return false;
  return true;
}

void take_letter(self_ptr self, const std::string& bytes) {
  const auto from = decode_letter(bytes);
  if (from && from->of == self->state.options.with && !heed(self, *from))
    distrust(self, "no letter for a session");
}

} // namespace

caf::behavior session(self_ptr self, session_options options) {
  self->state.options = std::move(options);
  const auto& kept = self->state.options;
  self->monitor<caf::message_priority::high>(kept.link);
  self->set_down_handler([self](const caf::down_msg&) { self->quit(); });
  self->request(kept.facts->lanes(), caf::infinite,
                supervision::subscribe{caf::actor_cast<caf::actor>(self)})
    .then([] {}, [self](const caf::error& why) { self->quit(why); });
  self->delayed_send(self, job_patience, job_due{});
  return {
    [self](const std::string& bytes) { take_letter(self, bytes); },
    [self](const supervision::child_up& up) { seat_lane(self, up); },
    [self](const supervision::child_down& down) { lose_lane(self, down); },
    [self](const batch_receipt& receipt) { take_receipt(self, receipt); },
    [self](flush) { send_receipts(self); },
    [self](lease_look) { look_at_held(self); },
    [self](job_due) {
      if (!self->state.site && !self->state.job)
        self->quit();
    },
    [self](leave) { tell(self, word::draining, {}); },
  };
}

} // namespace viva::actors::node
