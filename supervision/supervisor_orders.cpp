#include "supervision/supervisor_actor.hpp"

#include <algorithm>
#include <ranges>

namespace viva::supervision {

template <class Order>
caf::response_promise supervisor_actor::accept(Order order) {
  auto answer = make_response_promise();
  if (x_phase == phase::ending)
    answer.deliver(make_error(fault::no_process));
  else if (idle() && x_backlog.empty())
    execute(order, answer);
  else
    x_backlog.push_back(
      {[this, order = std::move(order), answer]() mutable { execute(order, answer); }, answer});
  proceed();
  return answer;
}

caf::behavior supervisor_actor::orders() {
  return {
    [this](start_child& order) { return accept(std::move(order)); },
    [this](start_instance& order) { return accept(std::move(order)); },
    [this](restart_child& order) { return accept(std::move(order)); },
    [this](terminate_child& order) { return accept(std::move(order)); },
    [this](terminate_instance& order) { return accept(std::move(order)); },
    [this](delete_child& order) { return accept(std::move(order)); },
    [this](change& order) { return accept(std::move(order)); },
    [this](retry_now again) {
      const auto who = place_of(again.whose);
      if (who != x_children.end() && who->second.generation == again.generation)
        try_again(again.whose);
      proceed();
    },
    [this](boot_now) {
      boot();
      proceed();
    },
    [this](await_up) {
      auto answer = make_response_promise();
      if (x_phase == phase::starting)
        x_await_up.push_back(answer);
      else if (x_phase == phase::running)
        answer.deliver(caf::unit);
      else
        answer.deliver(x_exit_reason ? x_exit_reason : make_error(fault::no_process));
      return answer;
    },
    [this](stop& order) {
      auto answer = make_response_promise();
      x_await_end.push_back(answer);
      begin_ending(std::move(order.reason));
      proceed();
      return answer;
    },
    [this](const subscribe& order) {
      x_listeners.push_back({order.who.address(), {}, {}});
      for (const auto& [id, who] : x_children)
        if (who.state() == life::up)
          send(order.who, child_up{who.entry->id, who.who, who.entry->restarts});
    },
    [this](which_children) {
      std::vector<child_info> all;
      all.reserve(x_children.size());
      for (const auto& [id, who] : x_children | std::views::reverse)
        all.push_back(info_of(who));
      return all;
    },
    [this](const which_child& order) -> caf::result<child_info> {
      serial number = 0;
      if (auto* who = find(order.id, number))
        return info_of(*who);
      return make_error(fault::not_found, order.id);
    },
    [this](count_children) {
      return child_counts{simple() ? 1 : x_children.size(), x_by_address.size(), x_supervisors,
                          x_children.size() - x_supervisors};
    },
    [this](const get_childspec& order) -> caf::result<child_spec> {
      serial number = 0;
      if (simple() && x_template && order.id == x_template->id)
        return *x_template;
      if (auto* who = find(order.id, number))
        return *who->spec;
      return make_error(fault::not_found, order.id);
    },
    [this](get_options) { return x_options; },
  };
}

child* supervisor_actor::find(const std::string& id, serial& number) {
  const auto known = x_ids.find(id);
  if (known == x_ids.end())
    return nullptr;
  number = known->second;
  return &x_children.at(number);
}

// What restart_child and delete_child want: a child that is known and does not run. Where there is
// none, the answer says why.
std::optional<serial> supervisor_actor::find_stopped(const std::string& name,
                                                     caf::response_promise& answer) {
  serial id = 0;
  auto why = fault::not_found;
  if (simple()) {
    answer.deliver(make_error(fault::simple_one_for_one));
    return std::nullopt;
  }
  if (const auto* known = find(name, id)) {
    if (known->state() != life::restarting && !known->who && !known->dead)
      return id;
    why = known->state() == life::restarting ? fault::restarting : fault::running;
  }
  answer.deliver(make_error(why, name));
  return std::nullopt;
}

child_info supervisor_actor::info_of(const child& who) const {
  return {who.entry->id, who.state() == life::up ? who.who : caf::actor{}, who.state(),
          who.spec->type};
}

void supervisor_actor::begin_start_one(serial id, bool keep_on_failure,
                                       caf::response_promise answer) {
  auto& e = begin(episode::kind::start_one);
  e.starts.push_back(id);
  e.keep_on_failure = keep_on_failure;
  e.answer = std::move(answer);
}

void supervisor_actor::begin_stop_one(serial id, caf::response_promise answer) {
  auto& e = begin(episode::kind::stop_one);
  e.stops.push_back(id);
  e.answer = std::move(answer);
}

void supervisor_actor::execute(start_child& order, caf::response_promise answer) {
  if (simple())
    return answer.deliver(make_error(fault::simple_one_for_one, "use start_instance"));
  if (auto why = check(order.spec, x_options.ends))
    return answer.deliver(std::move(why));
  serial id = 0;
  if (auto* known = find(order.spec.id, id))
    return answer.deliver(make_error(known->state() == life::up ? fault::already_started
                                                                : fault::already_present,
                                     order.spec.id));
  insert(std::make_shared<child_spec>(std::move(order.spec)), {}, id);
  begin_start_one(id, false, std::move(answer));
}

void supervisor_actor::execute(start_instance& order, caf::response_promise answer) {
  if (!simple())
    return answer.deliver(make_error(fault::bad_spec, "only simple_one_for_one has instances"));
  serial id = 0;
  insert(x_template, std::move(order.args), id);
  begin_start_one(id, false, std::move(answer));
}

void supervisor_actor::execute(restart_child& order, caf::response_promise answer) {
  if (const auto id = find_stopped(order.id, answer))
    begin_start_one(*id, true, std::move(answer));
}

void supervisor_actor::execute(terminate_child& order, caf::response_promise answer) {
  if (simple())
    return answer.deliver(make_error(fault::simple_one_for_one));
  serial id = 0;
  if (!find(order.id, id))
    return answer.deliver(make_error(fault::not_found, order.id));
  begin_stop_one(id, std::move(answer));
}

void supervisor_actor::execute(terminate_instance& order, caf::response_promise answer) {
  if (!simple() || !order.who)
    return answer.deliver(make_error(fault::not_found));
  const auto known = x_by_address.find(caf::actor_cast<caf::actor_control_block*>(order.who));
  if (known != x_by_address.end())
    return begin_stop_one(known->second, std::move(answer));
  // One that waits for its next attempt has no handle: it is known by its last one's number.
  const auto waits = std::ranges::find_if(x_children, [&](const auto& each) {
    return each.second.state() == life::restarting && order.who->node() == system().node()
           && each.second.last_pid == order.who->id();
  });
  if (waits != x_children.end())
    return begin_stop_one(waits->first, std::move(answer));
  const bool gone = caf::actor_cast<caf::abstract_actor*>(order.who)->getf(
    caf::abstract_actor::is_terminated_flag);
  if (gone)
    return answer.deliver(caf::unit);
  answer.deliver(make_error(fault::not_found)); // a stranger, and it lives
}

void supervisor_actor::execute(delete_child& order, caf::response_promise answer) {
  if (const auto id = find_stopped(order.id, answer)) {
    erase(place_of(*id));
    answer.deliver(caf::unit);
  }
}

void supervisor_actor::execute(change& order, caf::response_promise answer) {
  const bool to_simple = order.options.how == strategy::simple_one_for_one;
  auto why = check(order.options);
  if (!why && to_simple != simple())
    why = make_error(fault::bad_options, "invalid_strategy");
  if (!why)
    why = check_childspecs(order.specs, order.options.how, order.options.ends);
  for (const auto& [id, who] : x_children) { // specs that are not mentioned stay
    const auto same = [&](const child_spec& spec) { return spec.id == who.spec->id; };
    if (!why && !simple() && std::ranges::none_of(order.specs, same))
      why = check_significance(*who.spec, order.options.ends);
  }
  if (why)
    return answer.deliver(std::move(why));
  inherit(order.options, x_options);
  order.options.name = x_options.name;
  order.options.subscribers.clear();
  x_options = std::move(order.options);
  open_windows();
  for (auto& spec : order.specs) {
    auto shared = std::make_shared<child_spec>(std::move(spec));
    serial id = 0;
    if (simple()) {
      x_template = shared;
      for (auto& [number, who] : x_children) {
        if (who.spec->restart == temporary && shared->restart != temporary)
          continue; // its arguments are gone: it ends as what it was started as
        x_supervisors -= who.spec->type == child_type::supervisor;
        x_supervisors += shared->type == child_type::supervisor;
        who.spec = shared;
        forget_start(who);
      }
    } else if (auto* known = find(shared->id, id)) {
      x_supervisors -= known->spec->type == child_type::supervisor;
      x_supervisors += shared->type == child_type::supervisor;
      x_ids.erase(known->spec->id);
      known->spec = std::move(shared);
      x_ids.emplace(known->spec->id, id); // the key of the old spec goes with it
      forget_start(*known);
    } else {
      insert(std::move(shared), {}, id).wanted = false;
    }
  }
  answer.deliver(caf::unit);
  bring_back();
}

void supervisor_actor::refuse_orders() {
  const auto gone = make_error(fault::no_process);
  if (auto answer = std::exchange(x_episode.answer, {}); answer.pending())
    answer.deliver(gone);
  for (auto& each : std::exchange(x_backlog, {}))
    if (each.answer.pending())
      each.answer.deliver(gone);
}

} // namespace viva::supervision
