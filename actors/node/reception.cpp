#include "actors/node/reception.hpp"

#include "actors/node/lent_lane.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

namespace viva::actors::node {
namespace {

using self_ptr = caf::stateful_actor<reception_state>*;

std::string letter_of(const stamp& with, const welcome& said) {
  return encode(letter{word::welcome, with, encode(said)});
}

/// What is in the way of letting it in.
error refusal(const reception_state& state, const stamp& with, const hello& who) {
  const auto& own = state.options.facts->build;
  if (who.build != own)
    return {errc::bad_option, "this node is another build (" + own + "; the coordinator is "
                                + who.build + "); run the same viva everywhere"};
  if (state.drains)
    return {errc::interrupted, "this node is about to leave"};
  if (who.wants != hello::wish::look && state.here.contains({with.epoch, with.join}))
    return {errc::interrupted, "this hello came before, and has a session"};
  if (state.here.size() >= sessions_max)
    return {errc::interrupted, "this node has all the coordinators that it takes, "
                                 + std::to_string(sessions_max)};
  return {};
}

void forget(self_ptr self, const caf::actor_addr& who) {
  const auto found = self->state.sessions.find(who);
  if (found == self->state.sessions.end())
    return;
  self->state.here.erase(found->second.of);
  self->state.sessions.erase(found);
  *self->state.options.sessions = static_cast<std::uint32_t>(self->state.sessions.size());
}

void begin_session(self_ptr self, const stamp& with, const caf::actor& link, hello::wish wants,
                   welcome said, caf::response_promise answer) {
  auto& state = self->state;
  const session_options options{state.options.facts, link, with, lease::now()};
  supervision::child_spec spec;
  spec.id = "session-" + std::to_string(++state.visits);
  spec.restart = supervision::temporary;
  spec.start = [options, wants](caf::event_based_actor* sup) {
    return wants == hello::wish::lane
             ? supervision::spawn<caf::detached>(sup, lent_lane, options)
             : supervision::spawn<caf::detached>(sup, session, options);
  };
  const reception_state::meeting of{with.epoch, with.join};
  state.here.insert(of);
  self->request(state.options.jobs, caf::infinite, supervision::start_child{std::move(spec)})
    .then(
      [self, of, with, said, answer](const supervision::started& up) mutable {
        self->monitor(up.who);
        self->state.sessions[up.who.address()] = {up.who, of};
        *self->state.options.sessions = static_cast<std::uint32_t>(self->state.sessions.size());
        answer.deliver(letter_of(with, said), up.who);
        if (self->state.drains) // it was told while this one began
          self->send(up.who, leave{});
      },
      [self, of, with, said, answer](const caf::error& why) mutable {
        self->state.here.erase(of);
        said.problem = {errc::fault, "no session: " + supervision::to_text(why)};
        answer.deliver(letter_of(with, said), caf::actor{});
      });
}

void receive(self_ptr self, const std::string& bytes, const caf::actor& link,
             caf::response_promise answer) {
  const auto from = decode_letter(bytes);
  const auto who = from && from->what == word::hello ? decode_hello(from->body) : std::nullopt;
  auto said = self->state.options.look();
  if (!who) {
    said.problem = {errc::malformed, "no hello of this version"};
    answer.deliver(letter_of({}, said), caf::actor{});
    return;
  }
  const stamp with{from->of.epoch, own_incarnation(), from->of.join};
  said.problem = refusal(self->state, with, *who);
  if (who->wants == hello::wish::look || said.problem.code != errc::ok || !link)
    answer.deliver(letter_of(with, said), caf::actor{});
  else
    begin_session(self, with, link, who->wants, std::move(said), std::move(answer));
}

} // namespace

caf::behavior reception(self_ptr self, reception_options options) {
  self->state.options = std::move(options);
  self->set_down_handler([self](const caf::down_msg& down) { forget(self, down.source); });
  return {
    [self](const std::string& bytes) {
      const auto link = caf::actor_cast<caf::actor>(self->current_sender());
      auto answer = self->make_response_promise(); // which takes the sender
      receive(self, bytes, link, answer);
      return answer;
    },
    [self](leave) {
      self->state.drains = true;
      for (const auto& [address, each] : self->state.sessions)
        self->send(each.session, leave{});
    },
  };
}

} // namespace viva::actors::node
