#include "supervision/supervisor.hpp"

#include "supervision/supervisor_actor.hpp"

#include <limits>

namespace viva::supervision {
namespace {

init_function returning(supervisor_options options, std::vector<child_spec> specs) {
  return [made = blueprint{std::move(options), std::move(specs)}]() mutable -> init_result {
    return std::move(made); // an init function runs once per supervisor
  };
}

caf::expected<caf::actor> wait_for(caf::actor_system& system, init_function init) {
  auto promise = std::make_shared<std::promise<caf::error>>();
  auto answer = promise->get_future();
  auto who = system.spawn<supervisor_actor>(std::move(init), supervisor_options{}, nullptr,
                                            std::move(promise));
  try {
    if (auto why = answer.get())
      return why;
  } catch (const std::future_error&) { // it died and took the promise along
    return make_error(fault::no_process);
  }
  return who;
}

} // namespace

supervisor_options otp_compat(supervisor_options options) {
  options.backoff.base = milliseconds{0};
  options.revive = true;
  options.give_up_is_shutdown = true;
  options.whole_seconds = true;
  options.stop_in_parallel = false;
  options.count_by_reason = false;
  options.start_retries = 0;
  // One that never lets wait, or the parent's would be inherited.
  options.bucket = std::make_shared<shared_bucket>(std::numeric_limits<std::uint32_t>::max(), 1);
  return options;
}

caf::error check(const supervisor_options& options) {
  const auto refuse = [](std::string what) { return make_error(fault::bad_options, what); };
  if (options.how > strategy::simple_one_for_one)
    return refuse("invalid_strategy");
  if (options.period.count() < 1)
    return refuse("invalid_period");
  if (options.ends > auto_shutdown::all_significant)
    return refuse("invalid_auto_shutdown");
  if (options.backoff.base.count() < 0 || options.backoff.cap < options.backoff.base
      || options.backoff.healthy.count() < 0)
    return refuse("invalid_backoff");
  if (options.abandon_after.count() < 0)
    return refuse("invalid_abandon_after");
  if (options.name.empty())
    return refuse("missing_name");
  return {};
}

void inherit(supervisor_options& options, const supervisor_options& from) {
  if (!options.reports)
    options.reports = from.reports;
  if (!options.registry)
    options.registry = from.registry;
  if (!options.people)
    options.people = from.people;
  if (!options.bucket)
    options.bucket = from.bucket;
}

caf::actor spawn_supervisor(caf::event_based_actor* parent, init_function init) {
  supervisor_options inherited;
  if (const auto* above = dynamic_cast<const supervisor_actor*>(parent))
    inherit(inherited, above->options());
  return parent->spawn<supervisor_actor>(std::move(init), std::move(inherited), parent->address(),
                                         nullptr);
}

caf::actor spawn_supervisor(caf::event_based_actor* parent, supervisor_options options,
                            std::vector<child_spec> specs) {
  return spawn_supervisor(parent, returning(std::move(options), std::move(specs)));
}

caf::actor spawn_supervisor(caf::actor_system& system, init_function init) {
  return system.spawn<supervisor_actor>(std::move(init), supervisor_options{}, nullptr, nullptr);
}

caf::actor spawn_supervisor(caf::actor_system& system, supervisor_options options,
                            std::vector<child_spec> specs) {
  return spawn_supervisor(system, returning(std::move(options), std::move(specs)));
}

caf::expected<caf::actor> start_supervisor(caf::actor_system& system, init_function init) {
  return wait_for(system, std::move(init));
}

caf::expected<caf::actor> start_supervisor(caf::actor_system& system, supervisor_options options,
                                           std::vector<child_spec> specs) {
  return wait_for(system, returning(std::move(options), std::move(specs)));
}

void stop_supervisor(const caf::actor& supervisor) {
  caf::scoped_actor self{supervisor.home_system()};
  self->monitor(supervisor);
  caf::anon_send<caf::message_priority::high>(supervisor, stop{});
  self->receive([](const caf::down_msg&) {});
}

caf::error stop_supervisor(const caf::actor& supervisor, milliseconds deadline) {
  caf::scoped_actor self{supervisor.home_system()};
  self->monitor(supervisor);
  caf::anon_send<caf::message_priority::high>(supervisor, stop{});
  bool gone = false;
  const auto ended = [&](const caf::down_msg&) { gone = true; };
  self->receive(ended, caf::after(deadline) >> [] {});
  if (gone)
    return {};
  urge_exit(supervisor, supervisor.address(), caf::exit_reason::kill);
  self->receive(ended, caf::after(deadline) >> [] {});
  return make_error(fault::timed_out);
}

} // namespace viva::supervision
