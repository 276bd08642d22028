#include "actors/port.hpp"

#include "actors/known_answer.hpp"
#include "actors/lane_answers.hpp"
#include "actors/site_gone.hpp"
#include "actors/ward_news.hpp"
#include "supervision/orders.hpp"
#include "supervision/spawn.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>

namespace viva::actors {
namespace {

using self_ptr = caf::stateful_actor<port_state>*;
using supervision::fault;

// The slowest method's speed on a slow machine. A fifth of it is a stall.
constexpr std::uint64_t bytes_per_second_min = 2u << 20;

/// How long the slowest shard that is out may take without a sign of progress.
std::chrono::milliseconds patience(const port_state& state) {
  std::uint64_t largest = 0;
  for (const auto& each : state.out)
    for (const auto& task : each.tasks)
      largest = std::max(largest, each.site->work.shards[task.id.shard].source_bytes);
  return stall_limit(state.options.stall, largest);
}

void watch_progress(self_ptr self) {
  auto& state = self->state;
  state.whom->expect_progress(state.out.empty() ? std::chrono::milliseconds{0}
                                                : patience(state));
}

/// A frame that cannot be made ends the lane; its successor may find more memory.
void say(self_ptr self, std::uint16_t kind, std::string bytes) {
  auto made = pack(kind, std::move(bytes));
  if (made)
    self->state.whom->send(std::move(*made));
  else
    self->state.whom->kill(fault::oom, made.error().text);
}

void take_batch(self_ptr self, const batch& work) {
  auto& state = self->state;
  if (state.assigned.lock() != work.site) {
    state.assigned = work.site;
    state.gone = false;
    if (const auto& right = work.site->place.right())
      state.whom->send({lane_kind::lease, {}, right->page()});
    say(self, lane_kind::assign, work.site->assignment);
  }
  work_order order{work.number, {}};
  for (const auto& task : work.tasks)
    order.tasks.push_back({task, fault_of(*work.site, task)});
  state.out.push_back(work);
  watch_progress(self);
  say(self, lane_kind::work, encode(order));
}

/// Its process knows no job any more, and so none of its files.
void let_go(self_ptr self) {
  self->state.assigned.reset();
  say(self, lane_kind::assign, {});
}

void take_end_of_site(self_ptr self, const site_gone& over) {
  auto& state = self->state;
  if (state.assigned.owner_before(over.site) || over.site.owner_before(state.assigned))
    return; // it knows another
  state.gone = true;
  if (state.out.empty())
    let_go(self);
}

bool is_for_devices(task what) {
  return what == task::encode || what == task::decode || what == task::survey;
}

void take_receipts(self_ptr self, const supervision::frame& what) {
  auto& state = self->state;
  const auto bytes = unpack(what);
  const auto all = bytes && what.kind == lane_kind::receipts ? decode_receipts(*bytes)
                                                             : std::nullopt;
  const char* why = !all               ? "not receipts"
                    : state.out.empty() ? "receipts of nothing"
                                        : refuse(state.out.front(), *all);
  if (why != nullptr) {
    state.over = true;
    return state.whom->kill(fault::protocol, why);
  }
  const auto work = std::move(state.out.front());
  state.out.pop_front();
  watch_progress(self);
  state.options.meter->saw_memory(all->peak_rss);
  if (state.options.device && std::ranges::any_of(work.tasks, [&](const shard_task& each) {
        return each.device && is_for_devices(work.site->work.shards[each.id.shard].what);
      }))
    state.options.device->brought_batch_home();
  if (state.out.empty() && (state.gone || work.site.use_count() == 1))
    let_go(self);
  auto receipt = believed(state.options.id, work, *all, *state.options.meter);
  self->send(work.conductor, std::move(receipt));
}

void take_end(self_ptr self, const supervision::process_end& how) {
  auto& state = self->state;
  // Only what is out can have been executed, whatever a dying process left in its page.
  for (const auto& work : state.out)
    for (const auto& task : work.tasks)
      if (how.mark == std::uint64_t{task.id.shard} + 1)
        work.mark->store(task.id.shard);
  auto reason = state.leaving ? state.leaving
                : how.reason  ? how.reason
                              : supervision::make_error(fault::early_exit, "it left unasked");
  if (state.options.device && state.options.device->lane_ended(reason)) // before it starts anew
    spdlog::warn("{} is not used any more: {}; the other lanes go on without it",
                 state.options.id, supervision::to_text(reason));
  for (auto& each : std::exchange(state.await_up, {}))
    each.deliver(reason);
  self->quit(std::move(reason));
}

void take_exit(self_ptr self, caf::exit_msg& order) {
  auto& state = self->state;
  state.leaving = order.reason ? order.reason : caf::exit_reason::user_shutdown;
  if (state.ready && state.out.empty())
    state.whom->leave();
  else // nobody waits for what it has in hand
    state.whom->kill(fault::shutdown, {});
}

} // namespace

std::chrono::milliseconds stall_limit(std::chrono::milliseconds stall,
                                      std::uint64_t largest_source_bytes) {
  const std::chrono::milliseconds predicted{5'000 * (largest_source_bytes / bytes_per_second_min)};
  return std::max(stall, predicted);
}

caf::behavior port(self_ptr self, port_options options) {
  auto& state = self->state;
  state.options = std::move(options);
  state.whom = state.options.source->take();
  const auto me = caf::actor_cast<caf::actor>(self);
  state.whom->attach(
    {.on_ready = [me] { caf::anon_send(me, ward_ready{}); },
     .on_frame = [me](supervision::frame&& what) {
       caf::anon_send(me, ward_heard{std::move(what)});
     },
     .on_end = [me](const supervision::process_end& how) {
       caf::anon_send(me, ward_ended{how});
     }});
  self->set_exit_handler([self](caf::exit_msg& order) { take_exit(self, order); });
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
    },
    [self](const batch& work) { take_batch(self, work); },
    [self](const site_gone& over) { take_end_of_site(self, over); },
    [self](const ward_heard& heard) {
      if (!self->state.over)
        take_receipts(self, heard.what);
    },
    [self](const ward_ended& ended) { take_end(self, ended.how); },
  };
}

std::filesystem::path lane_program_of(const job_limits& limits) {
  return limits.lane_program.empty() ? "/proc/self/exe" : limits.lane_program;
}

supervision::process_options lane_process_options(const std::filesystem::path& program) {
  static const auto words = ready_words(kernels::path::reference);
  supervision::process_options options;
  options.command = {program.native(), "lane"};
#ifndef __SANITIZE_ADDRESS__ // whose leak check counts on a process that was started by exec
  options.nursery = {program.native(), "lane", "nursery"};
#endif
  options.ready_words = words;
  return options;
}

supervision::process_options device_process_options(const std::filesystem::path& program,
                                                    int number) {
  auto options = lane_process_options(program);
  options.command = {program.native(), "lane", "cuda", std::to_string(number)};
  options.nursery.clear(); // a context of CUDA does not outlive a fork
  options.start_limit = std::chrono::seconds{60};
  return options;
}

} // namespace viva::actors
