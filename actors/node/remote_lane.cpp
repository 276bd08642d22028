#include "actors/node/remote_lane.hpp"

#include "actors/lane_answers.hpp"
#include "actors/lane_frames.hpp"
#include "supervision/reason.hpp"

#include <caf/all.hpp>

namespace viva::actors::node {
namespace {

using self_ptr = caf::stateful_actor<remote_lane_state>*;
using supervision::fault;

void take_batch(self_ptr self, const batch& work) {
  auto& state = self->state;
  if (state.drains)
    return state.held.push_back(work);
  work_order order{work.number, {}};
  for (const auto& task : work.tasks)
    order.tasks.push_back({task, lane_fault::none}); // the node has the faults from the job
  state.out.push_back(work);
  const auto& me = state.options;
  self->send(me.link, lane_says{me.lane, me.life, me.join, encode(order)});
}

void end_if_drained(self_ptr self) {
  const auto& me = self->state.options;
  if (!self->state.drains || !self->state.out.empty())
    return;
  self->send(me.link, lane_left{me.lane, me.life, me.join});
  self->quit(supervision::make_error(fault::shutdown, "its node was told to leave"));
}

void take_receipts(self_ptr self, const std::string& bytes) {
  auto& state = self->state;
  const auto all = decode_receipts(bytes);
  const char* why = !all               ? "not receipts"
                    : state.out.empty() ? "receipts of nothing"
                                        : refuse(state.out.front(), *all);
  if (why != nullptr)
    return self->send(state.options.link, lane_distrusts{state.options.join, why});
  const auto work = std::move(state.out.front());
  state.out.pop_front();
  state.options.meter->saw_memory(all->peak_rss);
  self->send(work.conductor, believed(state.options.id, work, *all, *state.options.meter));
  end_if_drained(self);
}

void lose(self_ptr self, const lane_lost& how) {
  // Only what is there can have been executed, whatever the node says.
  for (const auto& work : self->state.out)
    for (const auto& task : work.tasks)
      if (task.id.shard == how.mark)
        work.mark->store(how.mark);
  self->quit(how.reason);
}

} // namespace

caf::behavior remote_lane(self_ptr self, remote_lane_options options) {
  self->state.options = std::move(options);
  self->monitor<caf::message_priority::high>(self->state.options.link);
  self->set_down_handler([self](const caf::down_msg& down) {
    const bool told = supervision::ending_of(down.reason) == supervision::ending::shutdown;
    self->quit(told ? down.reason : supervision::make_error(fault::node_lost,
                                                            "nobody speaks to it any more"));
  });
  return {
    [self](const batch& work) { take_batch(self, work); },
    [self](const lane_heard& heard) { take_receipts(self, heard.receipts); },
    [self](const lane_lost& how) { lose(self, how); },
    [self](lane_drains) {
      self->state.drains = true;
      end_if_drained(self);
    },
  };
}

} // namespace viva::actors::node
