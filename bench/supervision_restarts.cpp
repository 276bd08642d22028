#include "bench/supervision_actors.hpp"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include <filesystem>

#include <unistd.h>

namespace viva::bench {
namespace {

using namespace supervision;

struct restart_case {
  supervisor_options options{};
  std::size_t children = 1;
  bool crash = false;
  std::uint32_t before = 1000; ///< Restarts that are not timed.
  std::uint32_t timed = 0;
};

struct striker_state {
  restart_case what;
  parcel<samples> home;
  samples taken;
  caf::actor victim;
  std::size_t ups_missing = 0;
  std::uint32_t strikes = 0;
  clock::time_point began;
};
using striker_ptr = caf::stateful_actor<striker_state>*;

void strike(striker_ptr self) {
  auto& state = self->state;
  ++state.strikes;
  state.ups_missing = state.what.children; // each case restarts all it has
  state.began = clock::now();
  if (state.what.crash)
    self->send(std::exchange(state.victim, nullptr), crash_now{});
  else
    urge_exit(std::exchange(state.victim, nullptr), self->address(), caf::exit_reason::kill,
              self->context());
}

/// Kills or crashes the first child again and again; each time all children of the case come back.
caf::behavior striker(striker_ptr self, restart_case what, parcel<samples> home) {
  auto& state = self->state;
  state.ups_missing = what.children;
  state.what = std::move(what);
  state.home = std::move(home);
  // The strike that is one too many ends in the supervisor's death, not in a child that is up.
  self->set_down_handler([self](const caf::down_msg&) {
    self->state.home->set_value({us_since(self->state.began)});
    self->quit();
  });
  return {[](const child_down&) {}, [self](const child_up& up) {
    auto& now = self->state;
    if (now.strikes == 0 && now.ups_missing == now.what.children)
      self->monitor<caf::message_priority::high>(self->current_sender());
    if (up.id == "0")
      now.victim = up.who;
    if (--now.ups_missing > 0)
      return;
    if (now.strikes > now.what.before)
      now.taken.push_back(us_since(now.began));
    if (now.taken.size() < now.what.timed)
      return strike(self);
    now.home->set_value(std::move(now.taken));
    self->quit();
  }};
}

samples run(caf::actor_system& system, restart_case what) {
  auto home = empty_parcel<samples>();
  auto result = home->get_future();
  std::vector<child_spec> specs;
  for (std::size_t i = 0; i < what.children; ++i)
    specs.push_back(child_of(std::to_string(i)));
  auto options = what.options;
  // Subscribing keeps nobody alive.
  const auto driver = system.spawn(striker, std::move(what), home);
  options.subscribers.push_back({.who = driver});
  const auto top = start_supervisor(system, std::move(options), std::move(specs));
  auto taken = result.get();
  stop_supervisor(*top, std::chrono::seconds{30});
  return taken;
}

/// The kill after the last allowed restart, up to the supervisor's own end.
samples give_up(caf::actor_system& system, std::uint32_t intensity) {
  restart_case what{.options = patient(strategy::one_for_one), .before = intensity, .timed = 1};
  what.options.intensity = intensity;
  return run(system, std::move(what));
}

std::shared_ptr<reporter> queue_only() {
  auto log = std::make_shared<spdlog::logger>("bench");
  log->set_level(spdlog::level::off);
  return std::make_shared<reporter>(reporter_options{.log = log});
}

/// Writes every report to a file that goes with it.
struct file_reporter {
  std::string name = (std::filesystem::temp_directory_path()
                      / ("viva-bench-" + std::to_string(::getpid()) + ".log"))
                       .string();
  std::shared_ptr<reporter> reports = std::make_shared<reporter>(reporter_options{
    .burst_max = 1'000'000'000,
    .log = std::make_shared<spdlog::logger>(
      "bench", std::make_shared<spdlog::sinks::basic_file_sink_mt>(name, true))});
  ~file_reporter() {
    reports->flush();
    std::error_code ignored;
    std::filesystem::remove(name, ignored);
  }
};

} // namespace

void measure_restarts(caf::actor_system& system, const supervision_bench_options& options,
                      const metric_run& to) {
  const auto tell = [&](const char* metric, restart_case what) {
    if (to.wanted(metric))
      to.tell(latency(metric, run(system, std::move(what))));
  };
  const auto one = strategy::one_for_one;
  const auto n = options.samples;
  tell("restart.kill", {.options = patient(one, queue_only()), .timed = n});
  tell("restart.crash", {.options = patient(one), .crash = true, .timed = n});
  if (const auto* metric = "restart.crash_reported"; to.wanted(metric)) {
    const file_reporter file;
    tell(metric, {.options = patient(one, file.reports), .crash = true, .timed = n});
  }
  tell("restart.kill_window_10000", {.options = patient(one), .before = 10'000, .timed = n / 10});
  if (const auto* metric = "give_up.window_10000"; to.wanted(metric)) {
    samples all;
    for (std::uint32_t i = 0; i < std::max(n / 250, 1u); ++i)
      all.push_back(give_up(system, 10'000).front());
    to.tell(latency(metric, all));
  }
  tell("restart.one_for_all_8",
       {.options = patient(strategy::one_for_all), .children = 8, .timed = n / 10});
  tell("restart.one_for_all_64", {.options = patient(strategy::one_for_all), .children = 64,
                                  .before = 100, .timed = n / 10});
  tell("restart.rest_for_one_8",
       {.options = patient(strategy::rest_for_one), .children = 8, .timed = n / 10});
}

} // namespace viva::bench
