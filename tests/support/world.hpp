#pragma once

// World: an actor system whose scheduler and clock stand still until a test moves them.
//
// CAF's testing scheduler runs every actor in the test's own thread, so a test is a sequence of
// "this happens, then everything settles" without a sleep and without a race. Blocking calls
// (start_supervisor, ask) would wait for ever here; `world::ask` asks through an actor instead.

#include "tests/support/children.hpp"

#include <caf/scheduler/test_coordinator.hpp>

#include <optional>
#include <string>
#include <vector>

namespace viva::supervision::testing {

struct world {
  struct config : caf::actor_system_config {
    config() {
      set("scheduler.policy", caf::atom("testing"));
    }
  };
  config settings;
  caf::actor_system system{settings};
  caf::scheduler::test_coordinator& scheduler
    = dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler());
  diary book = std::make_shared<std::vector<std::string>>();
  std::shared_ptr<census> people = std::make_shared<census>();
  std::shared_ptr<names> registry = std::make_shared<names>();
  std::vector<report> reports; // filled by `read_reports`
  caf::actor top;
  std::optional<caf::error> ended; // why top ended
  caf::actor watcher;

  ~world() {
    for (auto* each : {&top, &watcher})
      if (*each)
        caf::anon_send_exit(*each, caf::exit_reason::kill);
    top = watcher = nullptr;
    settle();
  }

  void settle() {
    scheduler.run();
  }
  /// In up to a thousand steps, so that what one timer starts can have its own timers ring.
  void pass(milliseconds time) {
    const auto step = std::max(time / 1000, milliseconds{1});
    for (; time > milliseconds{0}; time -= std::min(time, step)) {
      scheduler.advance_time(std::min(time, step));
      settle();
    }
  }

  supervisor_options named(supervisor_options options) const {
    options.people = people;
    options.registry = registry;
    if (options.seed == 0)
      options.seed = 1;
    return options;
  }

  /// Spawns `top`, watches it, lets everything settle.
  caf::actor& rise(supervisor_options options, std::vector<child_spec> specs) {
    return watch(spawn_supervisor(system, named(std::move(options)), std::move(specs)));
  }
  caf::actor& watch(caf::actor who) {
    top = std::move(who);
    watcher = system.spawn([this](caf::event_based_actor* self) -> caf::behavior {
      self->set_down_handler([this](caf::down_msg& down) { ended = down.reason; });
      self->monitor(top);
      return {[](int) {}};
    });
    settle();
    return top;
  }

  template <class Answer = caf::unit_t, class Order>
  caf::expected<Answer> ask(const caf::actor& whom, Order order) {
    auto result = std::make_shared<caf::expected<Answer>>(make_error(fault::timed_out));
    system.spawn([=](caf::event_based_actor* self) mutable {
      auto failed = [=](caf::error& why) { *result = std::move(why); };
      auto request = self->request(whom, caf::infinite, std::move(order));
      if constexpr (std::is_same_v<Answer, caf::unit_t>)
        request.then([=] { *result = caf::unit; }, failed);
      else
        request.then([=](Answer& answer) { *result = std::move(answer); }, failed);
    });
    settle();
    return *result;
  }
  template <class Answer = caf::unit_t, class Order>
  caf::expected<Answer> ask(Order order) {
    return ask<Answer>(top, std::move(order));
  }

  std::optional<child_info> look(const std::string& id) {
    auto info = ask<child_info>(which_child{id});
    return info ? std::optional{*info} : std::nullopt;
  }
  caf::actor child(const std::string& id) {
    auto info = look(id);
    return info ? info->who : caf::actor{};
  }
  life state(const std::string& id) {
    auto info = look(id);
    REQUIRE(info);
    return info->state;
  }
  std::vector<child_info> all() {
    auto infos = ask<std::vector<child_info>>(which_children{});
    REQUIRE(infos);
    return *infos;
  }
  child_counts count() {
    auto counts = ask<child_counts>(count_children{});
    REQUIRE(counts);
    return *counts;
  }

  void end(const caf::actor& who, caf::error reason) {
    caf::anon_send(who, end_now{std::move(reason)});
    settle();
  }
  void crash(const std::string& id) {
    caf::anon_send(child(id), throw_now{"boom"});
    settle();
  }

  /// The diary since the last call, as one line.
  std::string told() {
    std::string line;
    for (const auto& word : *book)
      line += (line.empty() ? "" : " ") + word;
    book->clear();
    return line;
  }
};

inline const caf::error shutdown_reason = caf::exit_reason::user_shutdown;
inline const caf::error abnormal_reason = make_error(fault::exception, "abnormal");

inline bool refused(const caf::error& why, fault code, std::string_view words = {}) {
  INFO(to_text(why));
  return is(why, code) && to_text(why).find(words) != std::string::npos;
}

} // namespace viva::supervision::testing
