#include "actors/node/link_parts.hpp"
#include "actors/port.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>

#include <algorithm>
#include <utility>

namespace viva::actors::node {
namespace {

using self_ptr = link_ptr;
using supervision::fault;

/// Ten minutes unless told otherwise: a lane's own guardian, if it has one, comes long before, and
/// the node may have work of other coordinators in the same lanes, of which this one hears nothing.
constexpr int quiet_stalls = 20;

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

/// A batch's number, and the bytes of its largest shard.
std::pair<std::uint64_t, std::uint64_t> measure(const job_site& site, const std::string& bytes) {
  const auto order = decode_order(bytes).value(); // our own
  std::uint64_t largest = 0;
  for (const auto& each : order.tasks)
    largest = std::max(largest, site.work.shards[each.task.id.shard].source_bytes);
  return {order.number, largest};
}

caf::error reason_from(const lane_news& news) {
  if (news.fault == 0 || news.fault > static_cast<std::uint8_t>(fault::node_lost))
    return supervision::make_error(fault::killed, news.text);
  return supervision::make_error(static_cast<fault>(news.fault), news.text);
}

} // namespace

void note_progress(link_state& state, std::uint64_t batch) {
  for (auto& [lane, seat] : state.seats)
    if (seat.owes.contains(batch))
      seat.quiet = 0;
}

/// By looks, not by the clock: none is made while this process itself stands still.
void look_at_lanes(self_ptr self) {
  auto& state = self->state;
  for (auto& [lane, seat] : state.seats) {
    const bool moves = state.carries && state.carries->moves(lane, seat.life);
    seat.quiet = seat.owes.empty() || moves ? 0 : seat.quiet + 1;
    std::uint64_t largest = 0;
    for (const auto& [batch, bytes] : seat.owes)
      largest = std::max(largest, bytes);
    const auto limit = quiet_stalls * stall_limit(state.options.stall, largest);
    if (std::chrono::seconds{seat.quiet} > limit)
      return lose_node(self, "silent about what lane " + std::to_string(lane) + " was given, for "
                               + std::to_string(seat.quiet) + " s, although it shows signs of "
                                 "life; look at that machine, or raise --stall-seconds");
  }
}

void lose_seats(self_ptr self, const std::string& why) {
  for (auto& [lane, seat] : std::exchange(self->state.seats, {}))
    if (seat.who)
      self->send<caf::message_priority::high>(
        seat.who, lane_lost{supervision::make_error(fault::node_lost, why), no_shard});
}

void part_if_drained(self_ptr self) {
  if (self->state.drains && self->state.seats.empty())
    lose_node(self, "it was told to leave, and has done what it had");
}

bool may_come(const link_state& state, const lane_news& news) {
  if (news.lane >= state.lanes_there)
    return false;
  const auto before = state.gone.find(news.lane);
  return before != state.gone.end() ? !before->second.up : !state.seats.contains(news.lane);
}

void lane_came(self_ptr self, const lane_news& news) {
  auto& state = self->state;
  if (const auto before = state.gone.find(news.lane); before != state.gone.end()) {
    before->second.up = news;
    return;
  }
  if (state.drains)
    return;
  state.seats[news.lane] = {news.life, nullptr, {}, 0};
  start_lane(self, news.lane);
}

void lane_went(self_ptr self, const lane_news& news) {
  auto& state = self->state;
  if (const auto before = state.gone.find(news.lane);
      before != state.gone.end() && before->second.down.life != news.life)
    return before->second.up.reset();
  const auto seat = state.seats.find(news.lane);
  if (seat == state.seats.end() || seat->second.life != news.life)
    return;
  if (state.carries && state.carries->fetches(news.lane, news.life)) {
    state.gone[news.lane].down = news;
    return;
  }
  const auto next = std::exchange(state.gone[news.lane], {}).up;
  state.gone.erase(news.lane);
  if (state.carries)
    state.carries->drop(news.lane, news.life);
  if (seat->second.who)
    self->send(seat->second.who, lane_lost{reason_from(news), news.mark});
  // One without work of this job was fenced by another's lease.
  const bool fenced = news.fault == static_cast<std::uint8_t>(fault::fenced) && !state.carries
                      && !seat->second.owes.empty();
  state.seats.erase(seat);
  if (fenced && ++state.fences[news.lane] >= fences_max)
    return heed_fences(self, news.lane);
  if (next)
    lane_came(self, *next);
  part_if_drained(self);
}

void take_receipts(self_ptr self, parcel what) {
  auto& state = self->state;
  const auto seat = state.seats.find(what.lane);
  const auto done = decode_receipts(what.bytes);
  if (done && seat != state.seats.end() && seat->second.life == what.life)
    for (const auto& [receipt, took] : done->shards)
      if (is_of_files(receipt.problem.code))
        return state.carries ? heed(self, receipt.problem) // of its scratch
                             : heed_files(self, receipt.problem);
  if (done && seat != state.seats.end() && seat->second.life == what.life
      && seat->second.owes.erase(done->number) != 0) {
    seat->second.quiet = 0;
    state.fences.clear();
    state.options.nodes->did_well(state.name_of_node);
  }
  if (state.carries)
    mind(self, state.carries->receipts(what));
  else
    deliver(self, what.lane, what.life, std::move(what.bytes));
}

void deliver(self_ptr self, std::uint32_t lane, std::uint32_t life, std::string receipts) {
  const auto seat = self->state.seats.find(lane);
  if (seat != self->state.seats.end() && seat->second.life == life && seat->second.who)
    self->send(seat->second.who, lane_heard{std::move(receipts)});
}

void pass_on(self_ptr self, const lane_says& what) {
  auto& state = self->state;
  const auto seat = state.seats.find(what.lane);
  if (!state.session || what.join != state.now.join || seat == state.seats.end()
      || seat->second.life != what.life)
    return; // it has been told, or will be, that it is lost
  // The conductor may be quicker than the supervisor with its word that the lane is started.
  seat->second.who = caf::actor_cast<caf::actor>(self->current_sender());
  const auto [number, largest] = measure(*state.options.site, what.order);
  seat->second.owes[number] = largest;
  const parcel order{what.lane, what.life, what.order};
  if (state.carries)
    mind(self, state.carries->take(order));
  else
    tell(self, word::work, encode(order));
}

void lane_left_us(self_ptr self, const lane_left& what) {
  const auto seat = self->state.seats.find(what.lane);
  if (what.join != self->state.now.join || seat == self->state.seats.end()
      || seat->second.life != what.life)
    return;
  self->state.seats.erase(seat);
  part_if_drained(self);
}

void start_again_lane(self_ptr self, const start_again& what) {
  const auto seat = self->state.seats.find(what.lane);
  if (self->state.now.join == what.join && seat != self->state.seats.end() && !seat->second.who)
    start_lane(self, what.lane);
}

} // namespace viva::actors::node
