#include "actors/pipeline/tensor_port.hpp"

#include "actors/pipeline/remote_order.hpp"
#include "actors/ward_news.hpp"
#include "supervision/orders.hpp"

#include <caf/all.hpp>

#include <stdexcept>

namespace viva::actors {
namespace {

using self_ptr = caf::stateful_actor<tensor_port_state>*;
using supervision::fault;
using supervision::milliseconds;

/// How long an order may show no progress: a tensor tells none before its end, and the slowest
/// method does more than a million values a second.
milliseconds patience_with(const tensor_order& order) {
  std::uint64_t values = 0;
  for (const auto& run : order.runs)
    values += run.rows * run.cols * run.count;
  for (const auto& step : order.steps)
    values += step.count * step.cols;
  for (const auto& step : order.attends) // a score takes about as long as a value
    values += step.of.batch * step.of.heads * step.of.queries * step.of.keys;
  return milliseconds{30'000 + values / 1000};
}

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
  state.whom->send({lane_kind::share, encode(region_note{region->id, region->size()}),
                    region->file()});
  state.known[region->id] = region;
}

/// What nobody here holds any more is unmapped there, too.
void forget_gone(tensor_port_state& state) {
  std::erase_if(state.known, [&](const auto& each) {
    if (!each.second.expired())
      return false;
    say(state, lane_kind::forget, encode(region_note{each.first, 0}));
    return true;
  });
}

struct handed {
  bool mine; ///< What the seat had is its own to finish.
  unit_ptr next;
};
handed turn(tensor_port_state& state, std::size_t seat) {
  const auto& place = state.place;
  handful next;
  const bool mine
    = place.work->turn(place.first_seat + seat * place.lanes, place.lives[seat], next);
  return {mine, next.empty() ? nullptr : std::move(next.front())};
}

void send_order(tensor_port_state& state, std::size_t seat, remote_order& what) {
  auto& at = state.seats[seat];
  for (const auto& region : what.regions)
    share(state, region);
  auto& order = what.order;
  order.number = at.order = ++state.orders;
  if (const auto limit = patience_with(order); state.out.empty() || limit > state.patience) {
    state.patience = limit;
    state.whom->expect_progress(limit);
  }
  state.out.push_back(seat);
  say(state, lane_kind::tensors, encode(order));
  if (state.place.condemned->load())
    end_life(state, fault::killed, "on purpose");
}

/// Puts the seat to work on `next`, or whatever is wanted after it.
void occupy(tensor_port_state& state, std::size_t seat, unit_ptr next) {
  const auto life = state.place.lives.front();
  while (next) {
    if (!next->begin()) {
      next = turn(state, seat).next;
      continue;
    }
    next->begun.store(true, std::memory_order_relaxed);
    next->at_work.store(true, std::memory_order_relaxed);
    auto* const remote = next->remote();
    if (remote == nullptr)
      throw std::logic_error("a lane process was given what only threads can do");
    state.seats[seat].work = next;
    if (const auto order = remote->order(life))
      return send_order(state, seat, *order);
    next->begun.store(false, std::memory_order_relaxed);
    next->at_work.store(false, std::memory_order_relaxed);
    auto [mine, after] = turn(state, seat);
    if (mine)
      next->finish();
    next = std::move(after);
  }
  state.seats[seat].work = nullptr;
  forget_gone(state);
}

void wake(tensor_port_state& state, std::size_t seat) {
  if (state.leaving)
    return;
  if (state.seats[seat].work)
    return forget_gone(state); // nudged, not woken
  occupy(state, seat, turn(state, seat).next);
}

void take_receipt(self_ptr self, const supervision::frame& what) {
  auto& state = self->state;
  const auto bytes = unpack(what);
  const auto got = bytes && what.kind == lane_kind::encoded ? decode_encoded(*bytes)
                                                            : std::nullopt;
  if (!got || state.out.empty() || got->number != state.seats[state.out.front()].order)
    return end_life(state, fault::protocol, "not what came of an order");
  const auto seat = state.out.front();
  const auto work = state.seats[seat].work;
  auto& remote = *work->remote();
  if (!remote.settle(*got))
    return end_life(state, fault::protocol, "results of tensors that it was not given");
  work->begun.store(false, std::memory_order_relaxed);
  work->at_work.store(false, std::memory_order_relaxed);
  state.out.pop_front();
  if (state.out.empty())
    state.whom->expect_progress(milliseconds{0});
  const auto did = remote.tally();
  const std::chrono::nanoseconds took{got->took_ns};
  auto& meter = *state.place.meter;
  meter.add({did.method, did.tensors, did.values, did.bytes, took});
  meter.saw_memory(got->peak_rss);
  auto [mine, next] = turn(state, seat);
  if (next)
    meter.tell_in_time(std::chrono::steady_clock::now());
  else
    meter.tell(); // before anybody can know that it is done
  if (mine)
    work->finish();
  occupy(state, seat, std::move(next));
}

void take_end(self_ptr self, const supervision::process_end& how) {
  auto& state = self->state;
  // Only what is out can have been executed, whatever a dying process left in its page.
  for (const auto seat : state.out)
    if (how.mark != 0 && how.mark == state.seats[seat].order)
      state.place.executed->store(seat + 1);
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
  state.whom = state.place.source->take();
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
      self->state.ready = true;
      for (auto& each : std::exchange(self->state.await_up, {}))
        each.deliver(caf::unit);
    },
    [self](seat_wake what) { wake(self->state, what.seat); },
    [self](const ward_heard& heard) {
      if (!self->state.over)
        take_receipt(self, heard.what);
    },
    [self](const ward_ended& ended) { take_end(self, ended.how); },
  };
}

} // namespace viva::actors
