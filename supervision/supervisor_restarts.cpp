#include "supervision/supervisor_actor.hpp"

#include <algorithm>
#include <ranges>

namespace viva::supervision {

void supervisor_actor::open_windows() {
  x_window = {x_options.intensity, x_options.period, x_options.whole_seconds};
  x_memory_window = x_window;
}

// One crash counts once, however many siblings it takes along; so does every failed attempt. Where
// no backoff holds a loop up, the window must: then every end counts.
std::optional<milliseconds> supervisor_actor::admit(child& who) {
  const auto now = clock().now();
  const auto& last = who.entry->last_reason;
  const bool by_reason = x_options.count_by_reason && x_options.backoff.base.count() > 0;
  const auto counted = by_reason ? counted_as(last) : tally::restart;
  auto& window = counted == tally::memory ? x_memory_window : x_window;
  if (counted != tally::none && !window.admit(now)) {
    post(report_kind::supervisor, report_context::gave_up, &who, last);
    begin_ending(x_options.give_up_is_shutdown
                   ? caf::error{caf::exit_reason::user_shutdown}
                   : make_error(fault::intensity, who.entry->id + ": " + to_text(last)));
    return std::nullopt;
  }
  auto delay = who.pace.next(x_options.backoff, std::exchange(who.up_since, {}), now, x_random);
  if (x_options.bucket)
    delay = std::max(delay, x_options.bucket->take(now));
  return delay;
}

void supervisor_actor::restart(serial id, child& who) {
  if (const auto delay = admit(who))
    begin_restart(id, *delay);
}

void supervisor_actor::begin_restart(serial culprit, milliseconds delay) {
  auto& e = begin(episode::kind::restart);
  e.culprit = culprit;
  e.delay = delay;
  const auto scope = reach_of(x_options.how);
  if (scope == reach::itself)
    return;
  owe(x_children.at(culprit), true);
  for (const auto& [id, who] : x_children | std::views::reverse) {
    if (id == culprit) {
      if (scope == reach::itself_and_later)
        break;
      continue;
    }
    e.stops.push_back(id);
  }
}

void supervisor_actor::try_again(serial id) {
  const auto who = place_of(id);
  if (who == x_children.end() || who->second.state() != life::restarting)
    return; // stopped by hand meanwhile
  if (x_episode.awaits(id)) // it goes on where it waits
    return enter(who->second, life::down);
  if (idle())
    begin_restart(id, milliseconds{0});
  else if (x_phase != phase::ending)
    x_backlog.push_back({[this, id, born = who->second.generation] {
                           const auto same = place_of(id);
                           if (same != x_children.end() && same->second.generation == born)
                             try_again(id);
                         },
                         {}});
}

// After the stops of a restart: either the delay begins (false, and the episode is over), or the
// list of starts is made. Made late, because the stops may have taken children off the table.
bool supervisor_actor::plan_starts() {
  auto& e = x_episode;
  if (!e.starts.empty())
    return true;
  const auto culprit = place_of(e.culprit);
  if (e.delay.count() > 0) {
    e.what = episode::kind::none;
    owe(culprit->second, false); // it comes by its own alarm, and the others with it
    enter(culprit->second, life::restarting);
    set_deadline(e.culprit, culprit->second, alarm::retry, e.delay);
    return false;
  }
  const auto scope = reach_of(x_options.how);
  if (scope == reach::itself) {
    e.starts.push_back(e.culprit);
    return true;
  }
  const auto first = scope == reach::everyone ? x_children.begin() : culprit;
  for (auto i = first; i != x_children.end(); ++i)
    if (i->second.owed || rejoins(i->second.spec->restart, i->second.wanted, x_options.revive))
      e.starts.push_back(i->first);
  return true;
}

void supervisor_actor::owe(child& who, bool is_owed) {
  x_owed -= std::exchange(who.owed, is_owed) ? 1 : 0;
  x_owed += is_owed ? 1 : 0;
}

// A group restart stops at once and may start late. Where an operator has stopped the one it waited
// for, or the strategy is another by now, nobody would ever start the others: they come back here.
void supervisor_actor::bring_back() {
  if (x_owed == 0)
    return;
  const auto waits = std::ranges::find_if(x_children, [](const auto& each) {
    return each.second.state() == life::restarting && !each.second.owed; // it has an alarm
  });
  const auto scope = reach_of(x_options.how);
  auto& e = begin(episode::kind::restart);
  for (const auto& [id, who] : x_children) {
    const bool comes = waits != x_children.end()
                       && (scope == reach::everyone
                           || (scope == reach::itself_and_later && waits->first < id));
    if (who.owed && !comes)
      e.starts.push_back(id);
  }
  if (e.starts.empty())
    e.what = episode::kind::none;
}

// A first start that failed by an accident, as a kill is one, is tried again within the episode.
// True also where the attempt was one too many, and the supervisor ends.
bool supervisor_actor::starts_again(serial id, child& who, const caf::error& why) {
  auto& e = x_episode;
  if (!e.starts_first() || e.retries >= x_options.start_retries || is(why, fault::start_failed)
      || is(why, fault::misconfigured))
    return false;
  ++e.retries;
  if (const auto delay = admit(who)) {
    enter(who, life::restarting);
    set_deadline(id, who, alarm::retry, *delay);
  }
  return true;
}

} // namespace viva::supervision
