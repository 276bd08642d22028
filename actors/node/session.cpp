#include "actors/node/session.hpp"

#include "actors/lane_frames.hpp"
#include "actors/node/node_site.hpp"
#include "supervision/reason.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

namespace viva::actors::node {
namespace {

using self_ptr = caf::stateful_actor<session_state>*;

struct flush {};
struct job_due {};
constexpr std::chrono::seconds job_patience{30};

} // namespace
} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::flush)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::job_due)

namespace viva::actors::node {
namespace {

void tell(self_ptr self, word what, std::string body) {
  const auto& options = self->state.options;
  self->send(options.link, encode(letter{what, options.with, std::move(body)}));
}

void take_job(self_ptr self, const assign& what) {
  auto made = open_site(what, *self->state.options.facts);
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

/// A receipt is worth nothing before its bytes would survive this machine, whose cache the
/// coordinator's sync does not reach. All that came home meanwhile shares one.
void send_receipts(self_ptr self) {
  auto& state = self->state;
  state.flushes = false;
  if (state.unsent.empty())
    return;
  const auto synced = state.site->place.sync();
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
  state.unsent.push_back({seat->second.number, seat->second.life, encode(all)});
  if (!std::exchange(state.flushes, true))
    self->send(self, flush{}); // behind the receipts that wait already
}

void seat_lane(self_ptr self, const supervision::child_up& up) {
  auto& state = self->state;
  const auto number = static_cast<std::uint32_t>(state.seats.size());
  auto& seat = state.seats.try_emplace(up.id, session_state::seat{number, 0, {}, {}}).first->second;
  ++seat.life;
  seat.who = up.who;
  seat.mark = std::make_shared<std::atomic<std::uint32_t>>(no_shard);
  if (state.site)
    tell(self, word::lane_up, encode(lane_news{seat.number, seat.life, 0, no_shard, {}}));
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
    tell(self, word::lane_down, encode(lane_news{lost.number, lost.life, fault, lost.mark->load(),
                                                 std::move(words)}));
  }
  seat->second.who = nullptr;
}

/// Null where a lane can be given this: its shards are the plan's.
const char* refuse(const session_state& state, const work_order& order) {
  for (const auto& [task, fault] : order.tasks)
    if (task.id.shard >= state.site->work.shards.size())
      return "a shard that the plan has not";
    else if (fault != lane_fault::none)
      return "a fault on purpose, which a job has from its beginning";
  return order.tasks.empty() ? "no tasks" : nullptr;
}

void take_work(self_ptr self, const parcel& what) {
  auto& state = self->state;
  const auto order = decode_order(what.bytes);
  const char* why = !state.site ? "work before a job" : !order ? "not work" : refuse(state, *order);
  if (why != nullptr) {
    spdlog::warn("a coordinator spoke nonsense: {}", why);
    return self->quit(supervision::make_error(supervision::fault::protocol, why));
  }
  for (const auto& [id, seat] : state.seats) {
    if (seat.number != what.lane || seat.life != what.life || !seat.who)
      continue;
    batch work{state.site, order->number, {}, seat.mark, caf::actor_cast<caf::actor>(self)};
    for (const auto& each : order->tasks)
      work.tasks.push_back(each.task);
    return self->send(seat.who, std::move(work));
  }
}

void take_letter(self_ptr self, const std::string& bytes) {
  const auto from = decode_letter(bytes);
  if (!from || !(from->of == self->state.options.with))
    return;
  const auto job = from->what == word::assign ? decode_assign(from->body) : std::nullopt;
  const auto work = from->what == word::work ? decode_parcel(from->body) : std::nullopt;
  if (job && !self->state.site)
    take_job(self, *job);
  else if (work)
    take_work(self, *work);
  else
    self->quit(supervision::make_error(supervision::fault::protocol, "no letter for a session"));
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
    [self](job_due) {
      if (!self->state.site)
        self->quit();
    },
    [self](leave) { tell(self, word::draining, {}); },
  };
}

} // namespace viva::actors::node
