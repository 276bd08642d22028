#include "supervision/supervisor_actor.hpp"

namespace viva::supervision {

child& supervisor_actor::insert(std::shared_ptr<child_spec> spec, caf::message args, serial& id) {
  id = ++x_last_serial;
  auto& who = x_children.emplace_hint(x_children.end(), id, child{})->second;
  census_entry entry{.id = spec->id, .type = spec->type, .since = clock().now()};
  if (simple())
    entry.id += "#" + std::to_string(id);
  else
    x_ids.emplace(spec->id, id);
  who.entry = &x_page->insert(id, std::move(entry));
  who.spec = std::move(spec); // with the key
  who.args = std::move(args);
  x_supervisors += who.spec->type == child_type::supervisor;
  return who;
}

// Most often the newest, which needs no walk down a tree of 100,000.
supervisor_actor::table::iterator supervisor_actor::place_of(serial id) {
  if (x_children.empty())
    return x_children.end();
  const auto newest = std::prev(x_children.end());
  return newest->first == id ? newest : x_children.find(id);
}

supervisor_actor::table::iterator supervisor_actor::erase(table::iterator who) {
  clear_deadline(who->second);
  owe(who->second, false);
  x_supervisors -= who->second.spec->type == child_type::supervisor;
  if (!simple())
    x_ids.erase(who->second.spec->id);
  x_page->erase(who->first);
  return x_children.erase(who);
}

void supervisor_actor::enter(child& who, life state) {
  x_page->change(*who.entry, [&](census_entry& entry) {
    entry.state = state;
    entry.since = clock().now();
    if (who.who)
      entry.who = who.who.address();
  });
}

supervisor_actor::step supervisor_actor::start(serial id, child& who) {
  ++who.generation;
  who.wanted = true;
  owe(who, false);
  who.info = {}; // of an earlier start
  start_result made = ignore;
  try {
    made = who.spec->start(this, who.args);
  } catch (...) {
    made = reason_of(std::current_exception());
  }
  if (std::holds_alternative<ignore_t>(made)) {
    ignored(id);
    return step::changed;
  }
  if (auto* up = std::get_if<started>(&made); up && up->who) {
    who.info = std::move(up->info);
    return adopt(id, who, std::move(up->who), true);
  }
  if (auto* later = std::get_if<starting>(&made); later && later->who)
    return adopt(id, who, std::move(later->who), false);
  auto* failed = std::get_if<caf::error>(&made);
  start_failed(id, failed && *failed ? std::move(*failed)
                                     : make_error(fault::start_failed, "bad_return"));
  return step::changed;
}

supervisor_actor::step supervisor_actor::adopt(serial id, child& who, caf::actor handle,
                                               bool is_up) {
  who.who = std::move(handle);
  x_by_address[caf::actor_cast<caf::actor_control_block*>(who.who)] = id;
  monitor<caf::message_priority::high>(who.who);
  if (x_options.registry) {
    if (auto taken = x_options.registry->put(full_name(who), who.who)) {
      enter(who, life::starting);
      refused(id, who, std::move(taken));
      return step::waiting;
    }
  }
  if (is_up) {
    now_up(who);
    return step::done;
  }
  enter(who, life::starting);
  if (who.spec->start_timeout.count() > 0)
    set_deadline(id, who, alarm::start_timeout, who.spec->start_timeout);
  // An answer may come late, after a refusal or another start: then its generation is an old one.
  const auto current = [this, id, generation = who.generation]() -> child* {
    const auto found = place_of(id);
    const bool same = found != x_children.end() && found->second.generation == generation
                      && found->second.state() == life::starting && !found->second.start_error;
    return same ? &found->second : nullptr;
  };
  request(who.who, caf::infinite, await_up{})
    .then(
      [this, current] {
        if (auto* child = current()) {
          clear_deadline(*child);
          now_up(*child);
          proceed();
        }
      },
      [this, current, id](caf::error& why) {
        // request_receiver_down says nothing: the down message brings the reason.
        auto* child = current();
        if (child && why != caf::sec::request_receiver_down) {
          refused(id, *child, std::move(why));
          proceed();
        }
      });
  return step::waiting;
}

void supervisor_actor::now_up(child& who) {
  const bool again = std::exchange(who.born, true);
  const auto now = clock().now();
  who.up_since = now;
  who.announced = true;
  x_page->change(*who.entry, [&](census_entry& entry) {
    entry.state = life::up;
    entry.since = now;
    entry.who = who.who.address();
    entry.restarts += again;
  });
  forget_start(who);
  post(report_kind::progress, report_context::started, &who, {});
  if (x_listeners.empty())
    return;
  const child_up event{who.entry->id, who.who, who.entry->restarts};
  for (auto& each : x_listeners) {
    if (auto to = caf::actor_cast<caf::actor>(each.who))
      send(to, event);
    if (each.on_up)
      each.on_up(event);
  }
}

// A temporary child that is up is never started again: what its start holds goes (S-66). Under
// simple_one_for_one the next instance needs the spec.
void supervisor_actor::forget_start(child& who) {
  if (who.spec->restart != temporary || who.state() != life::up)
    return;
  who.args = {};
  if (!simple())
    who.spec->start = {};
}

void supervisor_actor::tell_down(child& who, const caf::error& reason) {
  if (!std::exchange(who.announced, false) || x_listeners.empty())
    return;
  const child_down event{who.entry->id, reason};
  std::erase_if(x_listeners, [](const listener& each) {
    return each.who && !caf::actor_cast<caf::actor>(each.who) && !each.on_up && !each.on_down;
  });
  for (auto& each : x_listeners) {
    if (auto to = caf::actor_cast<caf::actor>(each.who))
      send(to, event);
    if (each.on_down)
      each.on_down(event);
  }
}

void supervisor_actor::tell_end(const child& who, report_context context) const {
  const auto& reason = who.entry->last_reason;
  if (is(reason, fault::exception))
    post(report_kind::crash, context, &who, reason);
  post(report_kind::supervisor, context, &who, reason);
}

// A child whose start came to nothing is killed; its down message then fails the start.
void supervisor_actor::refused(serial id, child& who, caf::error why) {
  who.start_error = std::move(why);
  kill(id, who);
}

void supervisor_actor::ignored(serial id) {
  ++x_episode.begun;
  const auto who = place_of(id);
  if (simple() || who->second.spec->restart == temporary)
    erase(who);
  else
    enter(who->second, life::down);
}

void supervisor_actor::start_failed(serial id, caf::error why) {
  const auto place = place_of(id);
  auto& who = place->second;
  who.start_error = {};
  if (is(why, fault::ignored))
    return ignored(id);
  x_page->change(*who.entry, [&](census_entry& entry) {
    entry.state = life::down;
    entry.since = clock().now();
    entry.last_reason = why;
  });
  post(report_kind::supervisor, report_context::start_error, &who, why);
  if (starts_again(id, who, why))
    return;
  auto wrapped = make_error(fault::start_failed, who.entry->id + ": " + to_text(why));
  switch (x_episode.what) {
    case episode::kind::boot:
      return begin_ending(std::move(wrapped));
    case episode::kind::start_one: {
      x_episode.what = episode::kind::none;
      auto answer = std::exchange(x_episode.answer, {});
      if (x_episode.keep_on_failure)
        who.wanted = false;
      const bool pass_on = simple();
      if (!x_episode.keep_on_failure)
        erase(place);
      return answer.deliver(pass_on ? std::move(why) : std::move(wrapped));
    }
    case episode::kind::restart: {
      // The next attempt is a message or an alarm, so that a stop can be heard in between.
      x_episode.what = episode::kind::none;
      const auto delay = admit(who);
      if (!delay)
        return;
      enter(who, life::restarting);
      if (delay->count() > 0)
        set_deadline(id, who, alarm::retry, *delay);
      else
        send(this, retry_now{id, who.generation});
      return bring_back();
    }
    default:
      return;
  }
}

// Whether a child that was to stop ended as neither asked for nor allowed: a permanent one is not
// even to end normally (OTP's `shutdown/1`).
bool supervisor_actor::is_odd(const child& who, const caf::error& reason) {
  return !(reason == caf::exit_reason::user_shutdown)
         && (who.spec->restart == permanent || ending_of(reason) == ending::abnormal);
}

// False: there is nothing to wait for.
bool supervisor_actor::begin_stop(serial id, child& who, bool own_deadline) {
  const bool lived = who.who || who.dead || who.state() == life::restarting;
  const bool in_group = x_episode.what == episode::kind::restart;
  if (!who.who) {
    if (who.dead) { // it ended by itself, and nobody had decided yet
      const auto how = ending_of(who.entry->last_reason);
      who.wanted = judge(who.spec->restart, how) == verdict::restart;
      // The end of a significant child may be the supervisor's: `decide` comes behind the restart.
      who.dead = in_group && !who.wanted && !x_options.revive && who.spec->significant;
      if (is_odd(who, who.entry->last_reason) && !who.dead)
        tell_end(who, report_context::shutdown_error);
    }
    if (who.state() == life::restarting) {
      clear_deadline(who);
      enter(who, life::down);
    }
  }
  if (in_group && lived)
    owe(who, rejoins(who.spec->restart, who.wanted, false));
  if (!who.who || who.state() == life::stopping)
    return static_cast<bool>(who.who);
  ++x_stopping;
  enter(who, life::stopping);
  if (who.spec->shutdown->how == shutdown_policy::kind::brutal_kill) {
    kill(id, who);
    return true;
  }
  clear_deadline(who);
  urge_exit(who.who, address(), caf::exit_reason::user_shutdown, context());
  if (own_deadline && who.spec->shutdown->how == shutdown_policy::kind::timeout)
    set_deadline(id, who, alarm::kill, who.spec->shutdown->patience);
  return true;
}

void supervisor_actor::kill(serial id, child& who) {
  urge_exit(who.who, address(), caf::exit_reason::kill, context());
  set_deadline(id, who, alarm::abandon, x_options.abandon_after);
}

// Its handler never returned. The handle goes, the actor and perhaps a thread are lost for good.
void supervisor_actor::abandon(serial id, child& who) {
  const bool was_starting = who.state() == life::starting;
  post(report_kind::supervisor, report_context::abandoned, &who, who.start_error);
  demonitor(who.who.address());
  forget_handle(who);
  const auto reason = make_error(fault::abandoned);
  x_page->change(*who.entry, [&](census_entry& entry) {
    entry.state = life::down;
    entry.since = clock().now();
    entry.last_reason = reason;
  });
  tell_down(who, reason);
  if (was_starting)
    return start_failed(id, std::move(who.start_error));
  --x_stopping;
  if (x_episode.what == episode::kind::restart && who.spec->restart == temporary)
    erase(place_of(id));
}

void supervisor_actor::forget_handle(child& who) {
  clear_deadline(who);
  if (x_options.registry)
    x_options.registry->erase(full_name(who), who.who.address());
  x_by_address.erase(caf::actor_cast<caf::actor_control_block*>(who.who));
  who.last_pid = who.who->id();
  who.who = nullptr;
  x_page->change(*who.entry, [](census_entry& entry) { entry.who = nullptr; });
}

void supervisor_actor::set_deadline(serial id, child& who, alarm what, milliseconds after) {
  clear_deadline(who);
  who.due = x_deadlines.emplace(clock().now() + after, deadline{id, what});
  who.timed = true;
  arm();
}

void supervisor_actor::clear_deadline(child& who) {
  if (std::exchange(who.timed, false))
    x_deadlines.erase(who.due);
}

// One CAF timer for all deadlines, never later than the earliest. It is a request's timeout whose
// request was never sent: delayed messages could not be taken back, and would keep a system that
// wants to shut down waiting. It may ring early, for a deadline that is gone; that is cheap.
void supervisor_actor::arm() {
  if (x_deadlines.empty() || x_armed_at <= x_deadlines.begin()->first)
    return;
  if (x_armed_at == time_point::max()) {
    x_timer = new_request_id(caf::message_priority::high).response_id();
    add_multiplexed_response_handler(x_timer, caf::behavior{[this](caf::error&) { on_timer(); }});
  }
  x_armed_at = x_deadlines.begin()->first;
  clock().set_request_timeout(x_armed_at, this, x_timer);
}

void supervisor_actor::on_timer() {
  x_armed_at = time_point::max();
  const auto now = clock().now();
  while (!x_deadlines.empty() && x_deadlines.begin()->first <= now) {
    const auto due = x_deadlines.begin()->second;
    if (const auto who = place_of(due.whose); who != x_children.end())
      clear_deadline(who->second);
    else
      x_deadlines.erase(x_deadlines.begin());
    on_alarm(due);
  }
  arm();
  proceed();
}

void supervisor_actor::on_alarm(const deadline& due) {
  if (due.what == alarm::kill_wave) {
    for (auto& [id, who] : x_children)
      if (who.state() == life::stopping)
        kill(id, who);
    return;
  }
  auto& who = x_children.at(due.whose);
  switch (due.what) {
    case alarm::kill:
      return kill(due.whose, who);
    case alarm::abandon:
      return abandon(due.whose, who);
    case alarm::start_timeout:
      return refused(due.whose, who, make_error(fault::start_timed_out));
    default:
      return try_again(due.whose);
  }
}

void supervisor_actor::post(report_kind kind, report_context context, const child* who,
                            caf::error reason) const {
  if (!x_options.reports)
    return;
  report what{.kind = kind, .context = context, .supervisor = x_name};
  if (who) {
    what.child = who->entry->id;
    what.pid = who->who ? who->who->id() : who->last_pid;
    what.restart = who->spec->restart;
    what.restarts = who->entry->restarts;
  }
  what.reason = std::move(reason);
  x_options.reports->post(std::move(what));
}

std::string supervisor_actor::full_name(const child& who) const {
  return x_options.name + "/" + who.entry->id;
}

} // namespace viva::supervision
