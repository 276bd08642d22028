#pragma once

// Supervisor: OTP's supervisor as one CAF actor around policy.hpp.
//
//   hears   await_up                     answered once every child is up, or with why not
//           start_child, restart_child,  the dynamic API; each is a struct below and answers
//           terminate_child, …           a request (README has the table)
//           subscribe                    child_up / child_down from now on, after one child_up
//                                        for every child that is up already
//           stop                         an ordered stop, last child first; then the reason given
//   watches its children by high priority monitors, never by links
//   ends    when told; when it gives up; when auto_shutdown says so; when its parent ends it
//
// A supervisor restarts actors and retries nothing; work is retried by those who know it.

#include "supervision/orders.hpp"

#include <caf/all.hpp>

#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace viva::supervision {

// -- starting and stopping -----------------------------------------------------------------------

/// What a supervisor is made of. An init function makes it anew for each start, inside the new
/// supervisor; it may also decide not to run, fail, or throw.
struct blueprint {
  supervisor_options options{};
  std::vector<child_spec> specs{};
};
using init_result = std::variant<blueprint, ignore_t, caf::error>;
using init_function = std::function<init_result()>;

/// From an actor, above all from a start function: `return starting(spawn_supervisor(sup, …))`.
/// The child inherits what its options leave unset, and ends with its parent.
caf::actor spawn_supervisor(caf::event_based_actor* parent, supervisor_options options,
                            std::vector<child_spec> specs);
caf::actor spawn_supervisor(caf::event_based_actor* parent, init_function init);

/// At the top, without waiting; whoever needs to know asks `await_up`. Keep the handle: CAF
/// collects an idle actor that nobody holds.
caf::actor spawn_supervisor(caf::actor_system& system, supervisor_options options,
                            std::vector<child_spec> specs);
caf::actor spawn_supervisor(caf::actor_system& system, init_function init);

/// For plain threads: spawns and waits until every child is up. The error is the first child's,
/// or `fault::ignored`.
caf::expected<caf::actor> start_supervisor(caf::actor_system& system, supervisor_options options,
                                           std::vector<child_spec> specs);
caf::expected<caf::actor> start_supervisor(caf::actor_system& system, init_function init);

/// For plain threads: stops in order and waits. Past the deadline it is killed with its children,
/// and the answer is `fault::timed_out`. Drop your own handles afterwards.
caf::error stop_supervisor(const caf::actor& supervisor, milliseconds deadline);
/// The same, however long its children take by their own `shutdown`.
void stop_supervisor(const caf::actor& supervisor);

/// For plain threads: one order, answered (about 100 us). A dead supervisor answers no_process.
template <class Answer, class Order>
caf::expected<Answer> ask(const caf::actor& supervisor, Order order) {
  caf::scoped_actor self{supervisor.home_system()};
  caf::expected<Answer> result{caf::error{}};
  auto failed = [&](caf::error& why) { result = std::move(why); };
  auto request = self->request(supervisor, caf::infinite, std::move(order));
  if constexpr (std::is_same_v<Answer, caf::unit_t>)
    request.receive([&] { result = caf::unit; }, failed);
  else
    request.receive([&](Answer& answer) { result = std::move(answer); }, failed);
  if (!result && result.error() == caf::sec::request_receiver_down)
    result = make_error(fault::no_process);
  return result;
}

} // namespace viva::supervision
