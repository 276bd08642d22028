#include "supervision/supervisor_actor.hpp"

#include <ranges>

namespace viva::supervision {

supervisor_actor::supervisor_actor(caf::actor_config& config, init_function init,
                                   supervisor_options inherited, caf::actor_addr parent,
                                   std::shared_ptr<std::promise<caf::error>> booted)
    : measured(config), x_init(std::move(init)), x_options(std::move(inherited)),
      x_parent(std::move(parent)), x_booted(std::move(booted)) {
}

caf::behavior supervisor_actor::make_behavior() {
  prepare(this);
  set_default_handler(
    [this](caf::scheduled_actor*, caf::message_view& what) -> caf::result<caf::message> {
      post(report_kind::supervisor, report_context::unknown_message, nullptr,
           caf::error{static_cast<std::uint8_t>(caf::sec::unexpected_message), caf::atom("system"),
                      caf::make_message(what.content().stringify())});
      return caf::sec::unexpected_message;
    });
  set_down_handler([this](caf::down_msg& down) {
    on_down(down);
    proceed();
  });
  // Only the parent, or an exit sent by nobody in particular, ends a supervisor: the exit of some
  // linked stranger does not (S-45). `anon_send_exit` names the receiver as its source.
  set_exit_handler([this](caf::exit_msg& told) {
    if (told.source && told.source != address() && told.source != x_parent)
      return;
    begin_ending(std::move(told.reason));
    proceed();
  });
  send<caf::message_priority::high>(this, boot_now{});
  return orders();
}

void supervisor_actor::boot() {
  if (x_phase != phase::starting || x_page)
    return;
  init_result made = ignore;
  try {
    made = x_init();
  } catch (...) {
    made = reason_of(std::current_exception());
  }
  auto* plan = std::get_if<blueprint>(&made);
  caf::error why;
  if (std::holds_alternative<ignore_t>(made)) {
    booted(make_error(fault::ignored));
    return begin_ending({});
  }
  if (auto* failed = std::get_if<caf::error>(&made))
    why = std::move(*failed);
  else if (auto bad = check(plan->options))
    why = std::move(bad);
  else
    why = check_childspecs(plan->specs, plan->options.how, plan->options.ends);
  if (why)
    return begin_ending(std::move(why));
  inherit(plan->options, x_options);
  x_options = std::move(plan->options);
  x_name = std::make_shared<const std::string>(x_options.name);
  x_page = std::make_shared<census_page>(x_options.name, address(), clock().now());
  if (x_options.people)
    x_options.people->enter(x_page);
  open_windows();
  x_random.seed(static_cast<std::minstd_rand::result_type>(
    x_options.seed ? x_options.seed : std::random_device{}()));
  x_random.discard(16); // the first draws of a small seed are small
  for (auto& each : x_options.subscribers)
    x_listeners.push_back({each.who.address(), std::move(each.on_up), std::move(each.on_down)});
  x_options.subscribers.clear(); // strong handles would keep subscribers alive
  auto& episode = begin(episode::kind::boot);
  for (auto& spec : plan->specs) {
    auto shared = std::make_shared<child_spec>(std::move(spec));
    if (simple()) {
      x_template = std::move(shared);
    } else {
      serial id = 0;
      insert(std::move(shared), {}, id);
      episode.starts.push_back(id);
    }
  }
}

void supervisor_actor::booted(const caf::error& why) {
  if (auto told = std::exchange(x_booted, nullptr))
    told->set_value(why);
  for (auto& answer : std::exchange(x_await_up, {})) {
    if (why)
      answer.deliver(why);
    else
      answer.deliver(caf::unit);
  }
}

bool supervisor_actor::idle() const noexcept {
  return x_phase == phase::running && x_episode.what == episode::kind::none;
}

// The vectors keep their memory: a restart allocates nothing here.
episode& supervisor_actor::begin(episode::kind what) {
  auto& e = x_episode;
  e.what = what;
  e.stops.clear();
  e.starts.clear();
  e.stopped = e.begun = 0;
  e.retries = 0;
  e.culprit = 0;
  e.delay = milliseconds{0};
  e.at_once = e.wave_sent = e.keep_on_failure = false;
  e.answer = {};
  return e;
}

void supervisor_actor::proceed() {
  for (;;) {
    while (x_episode.what != episode::kind::none) {
      if (!stops_done())
        return;
      if (x_episode.what == episode::kind::restart && !plan_starts())
        break; // the delay comes first
      const auto reached = starts_done();
      if (reached == step::waiting)
        return;
      if (reached == step::done)
        finish_episode();
    }
    if (!idle() || x_backlog.empty())
      return;
    auto next = std::move(x_backlog.front());
    x_backlog.pop_front();
    next.run();
  }
}

bool supervisor_actor::stops_done() {
  auto& e = x_episode;
  if (e.at_once) {
    if (!std::exchange(e.wave_sent, true)) {
      const bool own_deadlines = !simple();
      for (const auto id : e.stops)
        begin_stop(id, x_children.at(id), own_deadlines);
      if (!own_deadlines && x_template
          && x_template->shutdown->how == shutdown_policy::kind::timeout && x_stopping > 0) {
        x_deadlines.emplace(clock().now() + x_template->shutdown->patience,
                            deadline{0, alarm::kill_wave});
        arm();
      }
    }
    return x_stopping == 0;
  }
  for (; e.stopped < e.stops.size(); ++e.stopped) {
    const auto id = e.stops[e.stopped];
    const auto who = place_of(id);
    if (who == x_children.end())
      continue; // stopped, and temporary
    if (who->second.state() == life::stopping || begin_stop(id, who->second, true))
      return false;
    if (e.what == episode::kind::restart && who->second.spec->restart == temporary
        && !who->second.dead)
      erase(who); // it had ended by itself before its turn
  }
  return true;
}

supervisor_actor::step supervisor_actor::starts_done() {
  auto& e = x_episode;
  while (e.begun < e.starts.size()) {
    const auto id = e.starts[e.begun];
    const auto who = place_of(id);
    if (who == x_children.end() || who->second.state() == life::up || who->second.dead) {
      ++e.begun;
      continue;
    }
    const bool delayed = who->second.state() == life::restarting && e.starts_first();
    if (who->second.state() == life::starting || delayed)
      return step::waiting;
    if (const auto reached = start(id, who->second); reached != step::done)
      return reached;
  }
  return step::done;
}

void supervisor_actor::finish_episode() {
  auto& e = x_episode;
  auto answer = std::exchange(e.answer, {});
  switch (std::exchange(e.what, episode::kind::none)) {
    case episode::kind::boot:
      x_phase = phase::running;
      return booted({});
    case episode::kind::start_one: {
      started result;
      if (auto who = place_of(e.starts.front()); who != x_children.end())
        result = {who->second.who, std::exchange(who->second.info, {})};
      return answer.deliver(std::move(result));
    }
    case episode::kind::stop_one: {
      auto who = place_of(e.stops.front());
      who->second.wanted = false;
      owe(who->second, false);
      if (simple() || who->second.spec->restart == temporary)
        erase(who);
      answer.deliver(caf::unit);
      return bring_back();
    }
    case episode::kind::ending:
      for (auto& each : std::exchange(x_await_end, {}))
        each.deliver(caf::unit);
      return quit(x_exit_reason);
    default:
      return;
  }
}

void supervisor_actor::begin_ending(caf::error reason) {
  if (x_phase == phase::ending)
    return;
  if (x_phase == phase::starting)
    booted(reason ? reason : make_error(fault::no_process));
  x_phase = phase::ending;
  x_exit_reason = std::move(reason);
  refuse_orders();
  auto& e = begin(episode::kind::ending);
  e.at_once = simple() || x_options.stop_in_parallel;
  for (const auto& [id, who] : x_children | std::views::reverse)
    e.stops.push_back(id);
}

void supervisor_actor::on_down(caf::down_msg& down) {
  const auto found = x_by_address.find(down.source.get());
  if (found == x_by_address.end())
    return; // not a child, or one given up earlier
  const auto id = found->second;
  const auto place = place_of(id);
  auto& who = place->second;
  const auto state = who.state();
  const bool was_told = state == life::stopping;
  forget_handle(who);
  x_page->change(*who.entry, [&](census_entry& entry) {
    entry.state = life::down;
    entry.since = clock().now();
    entry.last_reason = down.reason;
  });
  tell_down(who, down.reason);
  if (state == life::starting) {
    if (!who.start_error && !down.reason)
      return ignored(id); // it ended normally before it was up: an init that said ignore
    return start_failed(id, who.start_error ? std::move(who.start_error) : std::move(down.reason));
  }
  if (was_told) {
    --x_stopping;
    const bool as_told = who.spec->shutdown->how == shutdown_policy::kind::brutal_kill
                         && down.reason == caf::exit_reason::kill;
    if (!as_told && is_odd(who, down.reason))
      post(report_kind::supervisor, report_context::shutdown_error, &who, down.reason);
    if (x_episode.what == episode::kind::restart && who.spec->restart == temporary)
      erase(place);
    return;
  }
  who.dead = true;
  if (idle() && x_backlog.empty())
    decide(id);
  else if (x_phase != phase::ending)
    x_backlog.push_back({[this, id] { decide(id); }, {}});
}

void supervisor_actor::decide(serial id) {
  const auto place = place_of(id);
  if (place == x_children.end() || !std::exchange(place->second.dead, false))
    return; // a group restart or an operator was faster
  auto& who = place->second;
  const auto how = ending_of(who.entry->last_reason);
  if (who.spec->restart == permanent || how == ending::abnormal)
    tell_end(who, report_context::child_terminated);
  if (judge(who.spec->restart, how) == verdict::restart)
    restart(id, who);
  else
    drop_or_keep(place);
}

void supervisor_actor::drop_or_keep(table::iterator who) {
  const auto significant = who->second.spec->significant;
  who->second.wanted = false;
  if (who->second.spec->restart == temporary || simple())
    erase(who);
  if (!significant || x_options.ends == auto_shutdown::never)
    return;
  if (ends_supervisor(x_options.ends, significant, any_significant_left() ? 1 : 0))
    begin_ending(caf::exit_reason::user_shutdown);
}

// Those that a group restart has stopped and not started yet are on their way back.
bool supervisor_actor::any_significant_left() const {
  for (const auto& [id, who] : x_children)
    if (who.spec->significant
        && (who.who || who.dead || who.owed || who.state() == life::restarting))
      return true;
  return false;
}

void supervisor_actor::on_exit() {
  clock().cancel_timeouts(this);
  // A promise keeps this actor alive: none may be left in it, even by a kill.
  refuse_orders();
  for (auto* list : {&x_await_up, &x_await_end})
    for (auto& each : std::exchange(*list, {}))
      each.deliver(make_error(fault::no_process));
  // Left over only after a kill or a bug of ours: nobody would ever stop these.
  for (auto& [id, who] : x_children) {
    if (!who.who)
      continue;
    if (x_options.registry)
      x_options.registry->erase(full_name(who), who.who.address());
    urge_exit(who.who, address(), caf::exit_reason::kill, context());
  }
  x_children.clear();
  x_by_address.clear();
  x_template = nullptr;
  if (x_page && x_options.people)
    x_options.people->leave(x_page);
  if (x_phase == phase::starting)
    booted(make_error(fault::no_process));
}

} // namespace viva::supervision
