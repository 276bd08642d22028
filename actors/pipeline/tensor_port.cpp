#include "actors/pipeline/tensor_port.hpp"

#include "actors/pipeline/patience.hpp"
#include "actors/pipeline/remote_order.hpp"
#include "actors/ward_news.hpp"
#include "supervision/orders.hpp"
#include "supervision/spawn.hpp"

#include <caf/all.hpp>

#include <stdexcept>

namespace viva::actors {
namespace {

using self_ptr = caf::stateful_actor<tensor_port_state>*;
using supervision::fault;
using supervision::milliseconds;

constexpr milliseconds patience_least{30'000};

/// What still comes of this life is not heard: what it had is lost, and run again.
void end_life(tensor_port_state& state, fault why, std::string words) {
  state.over = true;
  state.whom->kill(why, std::move(words));
}

void say(tensor_port_state& state, std::uint16_t kind, std::string bytes) {
  auto made = pack(kind, std::move(bytes));
  if (made)
    state.whom->send(std::move(*made));
  else
    end_life(state, fault::oom, made.error().text);
}

void share(tensor_port_state& state, const std::shared_ptr<shared_region>& region) {
  if (state.known.contains(region->id))
    return;
  const region_note note{region->id, region->size(), region->stays};
  state.whom->send({lane_kind::share, encode(note), region->file()});
  state.known[region->id] = region;
}

/// What nobody here holds any more is unmapped there, too.
void forget_gone(tensor_port_state& state) {
  std::erase_if(state.known, [&](const auto& each) {
    if (!each.second.expired())
      return false;
    say(state, lane_kind::forget, encode(region_note{each.first}));
    return true;
  });
}

/// Light units that a seat takes at a time; one where the last took longer than an order takes on
/// its way, so that no sibling is idle beside them.
constexpr std::size_t light_max = 32;
constexpr std::chrono::microseconds light_limit{20};

/// What the seat had is done; false where it is not its own to finish.
bool turn(tensor_port_state& state, std::size_t seat, handful& next) {
  const auto& place = state.place;
  next.clear();
  return place.work->turn(place.first_seat + seat * place.lanes, place.lives[seat], next,
                          state.took < light_limit ? light_max : 1);
}

void let_go(tensor_port_state& state, std::size_t seat, const unit& gone) {
  const auto& place = state.place;
  place.work->let_go(place.first_seat + seat * place.lanes, place.lives[seat], gone);
}

void send_orders(tensor_port_state& state, std::size_t seat,
                 const std::vector<tensor_order>& orders) {
  for (const auto& order : orders)
    if (const auto limit = patience_with(order, patience_least);
        state.out.empty() || limit > state.patience) {
      state.patience = limit;
      state.whom->expect_progress(limit);
    }
  state.out.push_back(seat);
  say(state, lane_kind::tensors, encode(orders));
  if (state.place.condemned->load())
    end_life(state, fault::killed, "on purpose");
}

/// One that was handed to the seat goes with its frame, where there is something to do for it.
void take_up(tensor_port_state& state, std::size_t seat, const unit_ptr& work,
             std::vector<tensor_order>& orders) {
  if (!work->begin()) // it has answered
    return let_go(state, seat, *work);
  work->begun.store(true, std::memory_order_relaxed);
  auto* const remote = work->remote();
  if (remote == nullptr)
    throw std::logic_error("a lane process was given what only threads can do");
  auto& job = state.seats[seat].emplace_back(work);
  const auto made = remote->order(state.place.lives.front());
  if (made == nullptr)
    return;
  for (const auto& region : made->regions)
    share(state, region);
  made->order.number = job.order = ++state.orders;
  orders.push_back(std::move(made->order));
}

/// Of a seat that gave its units back.
void finish_seat(tensor_port_state& state, std::size_t seat, bool mine) {
  handful done;
  for (auto& job : state.seats[seat])
    done.push_back(std::move(job.work));
  state.seats[seat].clear();
  if (mine)
    finish_all(done);
}

/// Puts the seat to work on `next`, or whatever is wanted after it.
void occupy(tensor_port_state& state, std::size_t seat, handful next) {
  while (!next.empty()) {
    std::vector<tensor_order> orders;
    for (const auto& each : next)
      take_up(state, seat, each, orders);
    if (!orders.empty())
      return send_orders(state, seat, orders);
    const bool mine = turn(state, seat, next);
    finish_seat(state, seat, mine);
  }
  forget_gone(state);
}

void wake(tensor_port_state& state, std::size_t seat) {
  if (state.leaving)
    return;
  if (!state.seats[seat].empty())
    return forget_gone(state); // nudged, not woken
  handful next;
  turn(state, seat, next);
  occupy(state, seat, std::move(next));
}

/// What came of a seat's orders, in their turn. False where it cannot be that; then none of it is
/// counted, for all of it is run again.
bool settle(tensor_port_state& state, const tensor_port_state::seat& jobs,
            const std::vector<tensor_receipt>& all) {
  auto got = all.begin();
  for (const auto& job : jobs)
    if (job.order != 0) {
      if (got == all.end() || got->number != job.order || !job.work->remote()->settle(*got))
        return false;
      ++got;
    }
  if (got != all.end())
    return false;
  auto& meter = *state.place.meter;
  got = all.begin();
  for (const auto& job : jobs)
    if (job.order != 0) {
      const auto did = job.work->remote()->tally();
      state.took = std::chrono::nanoseconds{got->took_ns};
      meter.add({did.method, did.tensors, did.values, did.bytes, state.took});
      meter.saw_memory(got->peak_rss);
      ++got;
    }
  return true;
}

void take_receipts(self_ptr self, const supervision::frame& what) {
  auto& state = self->state;
  const auto bytes = unpack(what);
  const auto all = bytes && what.kind == lane_kind::encoded ? decode_encoded(*bytes)
                                                            : std::nullopt;
  if (!all || state.out.empty() || !settle(state, state.seats[state.out.front()], *all))
    return end_life(state, fault::protocol, "not what came of its orders");
  const auto seat = state.out.front();
  state.out.pop_front();
  if (state.out.empty())
    state.whom->expect_progress(milliseconds{0});
  handful next;
  const bool mine = turn(state, seat, next);
  if (next.empty())
    state.place.meter->tell(); // before anybody can know that it is done
  else
    state.place.meter->tell_in_time(std::chrono::steady_clock::now());
  finish_seat(state, seat, mine);
  occupy(state, seat, std::move(next));
}

void take_end(self_ptr self, const supervision::process_end& how) {
  auto& state = self->state;
  // Only what is out can have been executed, whatever a dying process left in its page.
  for (const auto seat : state.out)
    for (const auto& job : state.seats[seat])
      if (how.mark != 0 && how.mark == job.order)
        job.work->at_work.store(true, std::memory_order_relaxed);
  auto reason = state.leaving ? state.leaving
                : how.reason  ? how.reason
                              : supervision::make_error(fault::early_exit, "it left unasked");
  for (auto& each : std::exchange(state.await_up, {}))
    each.deliver(reason);
  self->quit(std::move(reason));
}

void take_exit(tensor_port_state& state, const caf::exit_msg& order) {
  state.leaving = order.reason ? order.reason : caf::exit_reason::user_shutdown;
  if (state.ready && state.out.empty())
    state.whom->leave();
  else // nobody waits for what it has in hand
    end_life(state, fault::shutdown, {});
}

} // namespace

caf::behavior tensor_port(self_ptr self, tensor_port_place place) {
  auto& state = self->state;
  state.place = std::move(place);
  state.seats.resize(seats_a_process);
  state.whom = state.place.source(self->system());
  const auto me = caf::actor_cast<caf::actor>(self);
  state.whom->attach(
    {.on_ready = [me] { caf::anon_send(me, ward_ready{}); },
     .on_frame = [me](supervision::frame&& what) {
       caf::anon_send(me, ward_heard{std::move(what)});
     },
     .on_end = [me](const supervision::process_end& how) {
       caf::anon_send(me, ward_ended{how});
     }});
  self->set_exit_handler([self](caf::exit_msg& order) { take_exit(self->state, order); });
  return {
    [self](supervision::await_up) {
      auto answer = self->make_response_promise();
      if (self->state.ready)
        answer.deliver(caf::unit);
      else
        self->state.await_up.push_back(answer);
      return answer;
    },
    [self](ward_ready) {
      supervision::speak_for(self, self->state.whom->pid());
      self->state.ready = true;
      for (auto& each : std::exchange(self->state.await_up, {}))
        each.deliver(caf::unit);
      if (self->state.place.on_ready)
        self->state.place.on_ready(caf::actor_cast<caf::actor>(self));
    },
    [self](seat_wake what) { wake(self->state, what.seat); },
    [self](const ward_heard& heard) {
      if (!self->state.over)
        take_receipts(self, heard.what);
    },
    [self](const ward_ended& ended) { take_end(self, ended.how); },
  };
}

} // namespace viva::actors
