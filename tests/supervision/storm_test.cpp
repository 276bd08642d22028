// A storm of crashes, with real threads: T07 of the fault matrix.

#include "supervision/scheduler.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/sanitized.hpp"

#include <spdlog/sinks/ostream_sink.h>

#include <algorithm>
#include <chrono>
#include <sstream>

using namespace viva::supervision;
using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t intensity = viva::tests::sized(50'000, 5'000);

struct fair : caf::actor_system_config {
  fair() {
    set("scheduler.max-threads", 2);
    set("scheduler.max-throughput", 200);
    use_fair_scheduler(*this);
  }
};

child_spec throws_at_once() {
  return {.id = "a", .start = [](auto* sup) {
            return spawn(sup, [](caf::event_based_actor*) -> caf::behavior {
              throw std::runtime_error("at once");
            });
          }};
}

} // namespace

TEST_CASE("T07: a storm of crashes ends its supervisor, which answers meanwhile and floods no log",
          "[storm]") {
  using clock = std::chrono::steady_clock;
  std::ostringstream text;
  const auto log = std::make_shared<spdlog::logger>(
    "storm", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  const auto reports
    = std::make_shared<reporter>(reporter_options{.capacity = 64, .burst_max = 100, .log = log});
  std::uint64_t heard = 0, gave_up = 0;
  reports->subscribe([&](const report& what) {
    ++heard;
    gave_up += what.context == report_context::gave_up ? 1 : 0;
  });
  fair settings;
  caf::actor_system system{settings};
  const auto began = clock::now();
  const auto top = start_supervisor(system,
                                    {.name = "storm",
                                     .intensity = intensity,
                                     .period = 1h,
                                     .backoff = {0ms, 0ms, 1s},
                                     .reports = reports},
                                    {throws_at_once()});
  REQUIRE(top);
  caf::scoped_actor self{system};
  self->monitor(*top);
  std::vector<clock::duration> answers;
  for (bool alive = true; alive;) {
    const auto asked = clock::now();
    self->request(*top, caf::infinite, which_child{"a"})
      .receive([&](const child_info&) { answers.push_back(clock::now() - asked); },
               [&](const caf::error&) { alive = false; });
  }
  const auto took = std::chrono::duration<double>(clock::now() - began).count();
  caf::error why;
  self->receive([&](const caf::down_msg& down) { why = down.reason; });
  INFO(answers.size() << " answers within a storm of " << intensity << " crashes in " << took
                      << " s");
  CHECK(to_text(why) == "intensity: a: exception: at once");
  // Not the slowest: this machine may have other work.
  REQUIRE(answers.size() >= 20);
  std::ranges::sort(answers);
  CHECK(answers[answers.size() * 9 / 10] < (viva::tests::sanitized ? 100ms : 10ms));
  reports->flush();
  const auto counts = reports->counts();
  CHECK(gave_up == 1);
  CHECK(counts.posted == 3 * std::uint64_t{intensity} + 4); // each life: up, crash, end
  CHECK(counts.dropped > 0);
  CHECK(counts.posted == counts.dropped + heard);
  CHECK(static_cast<double>(counts.written) <= 100 * (took + 2) + 1);
  const std::string lines = text.str();
  CHECK(lines.find("storm: gave_up child=a") != std::string::npos);
  CHECK(lines.find("reports dropped") != std::string::npos);
}

TEST_CASE("T07: the report of who gave up finds room and a line where a storm left none",
          "[storm]") {
  std::ostringstream text;
  const auto log = std::make_shared<spdlog::logger>(
    "storm", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  std::mutex gate;
  std::unique_lock closed{gate};
  reporter reports{{.capacity = 10, .burst_max = 5, .log = log}};
  reports.subscribe([&](const report&) { std::lock_guard pass{gate}; });
  const auto post = [&](report_context context) {
    report what;
    what.context = context;
    what.supervisor = std::make_shared<const std::string>("storm");
    reports.post(std::move(what));
  };
  for (int i = 0; i < 100; ++i)
    post(report_context::child_terminated);
  for (int i = 0; i < 100; ++i) // of these, too, no more than there is room for
    post(report_context::gave_up);
  closed.unlock();
  reports.flush();
  CHECK(text.str().find("storm: gave_up") != std::string::npos);
  // kept are what the writer had taken and what waited behind it: each twice the capacity at most
  CHECK(reports.counts().dropped >= 200 - 2 * 2 * 10);
}
