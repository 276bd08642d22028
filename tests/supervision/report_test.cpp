#include "tests/support/heard_log.hpp"
#include "tests/support/world.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/sinks/ostream_sink.h>

#include <algorithm>
#include <future>
#include <semaphore>
#include <sstream>

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

namespace {

report sample() {
  return {.context = report_context::child_terminated,
          .supervisor = std::make_shared<const std::string>("lanes"),
          .child = "lane-0",
          .pid = 17,
          .restart = transient,
          .restarts = 2,
          .reason = make_error(fault::exception, "index out of range")};
}

} // namespace

TEST_CASE("S-70: a report is one line of a fixed layout", "[report]") {
  CHECK(to_line(sample())
        == "lanes: child_terminated child=lane-0 pid=17 restart=transient restarts=2 "
           "reason=\"exception: index out of range\"");
  auto crash = sample();
  crash.kind = report_kind::crash;
  CHECK(to_line(crash).starts_with("lanes: crash child_terminated child=lane-0"));
  auto own = sample();
  own.child.clear();
  own.context = report_context::gave_up;
  CHECK(to_line(own) == "lanes: gave_up reason=\"exception: index out of range\"");
  auto up = sample();
  up.kind = report_kind::progress;
  up.context = report_context::started;
  CHECK(to_line(up) == "lanes: started child=lane-0 pid=17 restart=transient restarts=2");
}

TEST_CASE("S-70: whatever a reason holds, the line stays one line within its limit", "[report]") {
  auto what = sample();
  what.reason = make_error(fault::exception, "two\nlines \"quoted\" \x1b[31m");
  CHECK(to_line(what).ends_with("reason=\"exception: two\\nlines \\\"quoted\\\" ?[31m\""));
  what.reason = make_error(fault::exception, std::string(5000, 'x'));
  CHECK(to_line(what).size() == 1024);
  for (std::size_t limit = 3; limit < 200; ++limit) {
    what.reason = make_error(fault::exception, "äöüßé€漢字🙂äöüßé€漢字🙂äöüßé€漢字🙂");
    const auto line = to_line(what, limit);
    CHECK(line.size() <= limit);
    // still UTF-8: every leading byte has its followers
    std::size_t expected = 0;
    for (const unsigned char c : line) {
      const bool follows = (c & 0xC0) == 0x80;
      CHECK(follows == (expected > 0));
      expected = follows ? expected - 1 : c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : c >= 0xC0 ? 1 : 0;
    }
    CHECK(expected == 0);
  }
}

TEST_CASE("reports go to the log and to subscribers, in order", "[report]") {
  std::ostringstream text;
  auto log = std::make_shared<spdlog::logger>(
    "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  log->set_pattern("%l %v");
  reporter reports{{.log = log}};
  std::vector<std::uint64_t> heard;
  reports.subscribe([&](const report& what) { heard.push_back(what.restarts); });
  for (std::uint64_t i = 0; i < 20; ++i) {
    auto what = sample();
    what.restarts = i;
    reports.post(what);
  }
  reports.flush();
  REQUIRE(heard.size() == 20);
  CHECK(std::is_sorted(heard.begin(), heard.end()));
  CHECK(text.str().starts_with("error lanes: child_terminated child=lane-0 pid=17"));
  CHECK(reports.counts().written == 20);
}

TEST_CASE("a full ring drops and counts, and posting never waits for the log", "[report]") {
  std::mutex gate;
  std::unique_lock closed{gate};
  reporter reports{{.capacity = 100, .log = std::make_shared<spdlog::logger>("quiet")}};
  std::atomic<int> heard = 0;
  reports.subscribe([&](const report&) {
    std::lock_guard pass{gate}; // a log that hangs
    ++heard;
  });
  for (int i = 0; i < 5000; ++i)
    reports.post(sample());
  closed.unlock();
  reports.flush();
  const auto counts = reports.counts();
  CHECK(counts.posted == 5000);
  CHECK(counts.dropped >= 4800); // at most one batch in the writer's hands and one waiting
  CHECK(counts.dropped + static_cast<std::uint64_t>(heard.load()) == counts.posted);
}

TEST_CASE("flush waits for all that was posted before it, whatever is dropped meanwhile",
          "[report]") {
  constexpr int capacity = 10;
  reporter reports{{.capacity = capacity, .log = std::make_shared<spdlog::logger>("quiet")}};
  std::counting_semaphore<> permits{0}; // of a log that hangs: one report each
  std::promise<void> begins, flushes;
  int heard = 0;
  reports.subscribe([&](const report&) {
    if (heard == 0)
      begins.set_value();
    permits.acquire();
    ++heard;
  });
  reports.post(sample());
  begins.get_future().wait(); // that one is in the writer's hands, the others wait
  for (int i = 0; i < capacity; ++i)
    reports.post(sample());
  auto flushed = std::async(std::launch::async, [&] {
    flushes.set_value();
    reports.flush();
    return heard;
  });
  flushes.get_future().wait();
  CHECK(flushed.wait_for(20ms) == std::future_status::timeout);
  for (int i = 0; i < 100; ++i)
    reports.post(sample());
  CHECK(reports.counts().dropped == 100);
  permits.release(); // the writer looks up
  CHECK(flushed.wait_for(50ms) == std::future_status::timeout);
  permits.release(capacity);
  CHECK(flushed.get() == 1 + capacity);
}

TEST_CASE("a child drops an unknown message, and the log says so in one short line", "[report]") {
  heard_log log;
  world w;
  w.rise({}, {member("a", w.book)});
  const auto a = w.child("a");
  caf::anon_send(a, std::string{"what\nis\nthis"});
  caf::anon_send(a, std::string(5000, 'x'));
  w.settle();
  CHECK(w.child("a") == a);
  const auto lines = log.lines_with("dropped an unknown message: ");
  REQUIRE(lines.size() == 2);
  CHECK(lines[0].find("(" + std::to_string(a.id()) + ")") != std::string::npos);
  CHECK(lines[0].find("what") != std::string::npos);
  CHECK(std::ranges::count(lines[0], '\n') == 1); // its own end
  CHECK(lines[1].size() < 400);
}

TEST_CASE("a report in the log carries the time of its event, not of its writing", "[report]") {
  std::ostringstream text;
  auto log = std::make_shared<spdlog::logger>(
    "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  log->set_pattern("%E%F");
  reporter reports{{.log = log}};
  std::vector<std::chrono::nanoseconds> moments;
  const auto note = [&] {
    moments.emplace_back(std::chrono::system_clock::now().time_since_epoch());
  };
  note();
  for (int i = 0; i < 3; ++i) { // the second and third wait for a writer that rests
    reports.post(sample());
    note();
  }
  reports.flush();
  std::istringstream lines{text.str()};
  for (std::size_t i = 0; i < 3; ++i) {
    std::string line;
    REQUIRE(std::getline(lines, line));
    const std::chrono::nanoseconds stamp{std::stoll(line)};
    CHECK(moments[i] <= stamp);
    CHECK(stamp <= moments[i + 1]);
  }
}

TEST_CASE("reports that a slow log made us drop are told in it", "[report]") {
  std::ostringstream text;
  auto log = std::make_shared<spdlog::logger>(
    "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  std::mutex gate;
  std::unique_lock closed{gate};
  reporter reports{{.capacity = 10, .log = log}};
  reports.subscribe([&](const report&) { std::lock_guard pass{gate}; });
  for (int i = 0; i < 1000; ++i)
    reports.post(sample());
  closed.unlock();
  reports.flush();
  reports.post(sample());
  reports.flush();
  std::uint64_t told = 0; // in one line for each batch behind which there were any
  std::istringstream lines{text.str()};
  for (std::string line; std::getline(lines, line);)
    if (const auto words = line.find(" reports dropped"); words != std::string::npos)
      told += std::stoull(line.substr(line.rfind(' ', words - 1) + 1));
  CHECK(told > 900);
  CHECK(told == reports.counts().dropped);
}

TEST_CASE("a burst is cut in the log and counted, subscribers still hear it", "[report]") {
  std::ostringstream text;
  auto log = std::make_shared<spdlog::logger>(
    "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  reporter reports{{.capacity = 10'000, .burst_max = 50, .log = log}};
  int heard = 0;
  reports.subscribe([&](const report&) { ++heard; });
  for (int i = 0; i < 1000; ++i)
    reports.post(sample());
  reports.flush();
  CHECK(heard == 1000);
  const auto counts = reports.counts();
  CHECK(counts.suppressed >= 800); // a slow machine may see a few seconds, and 50 lines in each
  CHECK(counts.written + counts.suppressed == 1000);
}

TEST_CASE("the text of reasons names exceptions, exits and errors of CAF", "[report]") {
  CHECK(to_text(caf::error{}) == "normal");
  CHECK(to_text(caf::exit_reason::kill) == "killed");
  CHECK(to_text(caf::exit_reason::user_shutdown) == "shutdown");
  CHECK(to_text(caf::sec::request_timeout) == "request_timeout");
  CHECK(to_text(make_error(fault::not_found, "lane-9")) == "not_found: lane-9");
  for (int code = 1; code <= static_cast<int>(fault::name_taken); ++code)
    CHECK_FALSE(to_string(fault(code)).empty());
  CHECK(to_string(fault::name_taken) == "name_taken");
  CHECK(to_string(fault::start_failed) == "start_failed");
}

TEST_CASE("a dump shows the live tree with restarts and reasons, as text and as JSON", "[report]") {
  world w;
  const auto deep = member("deep", w.book);
  w.rise({.name = "root"}, {member("a", w.book),
                            {.id = "s",
                             .start = [=](auto* sup) -> start_result {
                               return starting(spawn_supervisor(sup, {.name = "s"}, {deep}));
                             },
                             .type = child_type::supervisor}});
  w.crash("a");
  w.pass(1500ms);
  const auto trees = w.people->dump(w.scheduler.clock().now());
  REQUIRE(trees.size() == 1);
  CHECK(trees[0].id == "root");
  REQUIRE(trees[0].children.size() == 2);
  const auto& a = trees[0].children[0];
  CHECK(a.id == "a");
  CHECK(a.state == life::up);
  CHECK(a.restarts == 1);
  CHECK(a.last_reason == "exception: boom");
  CHECK(a.pid == w.child("a").id());
  CHECK(a.age == 1500ms);
  REQUIRE(trees[0].children[1].children.size() == 1);
  CHECK(trees[0].children[1].children[0].id == "deep");
  const auto json = nlohmann::json::parse(to_json(trees));
  CHECK(json[0]["children"][0]["last_reason"] == "exception: boom");
  CHECK(json[0]["children"][1]["children"][0]["id"] == "deep");
  CHECK(to_text(trees).find("    deep") != std::string::npos);
  CHECK(w.ask(stop{}));
  CHECK(w.people->dump(w.scheduler.clock().now()).empty());
}

TEST_CASE("a dump counts what waits in a mailbox without asking its owner", "[report]") {
  world w;
  w.rise({}, {member("a", w.book)});
  const auto a = w.child("a");
  for (int i = 0; i < 5; ++i)
    caf::anon_send(a, i);
  auto trees = w.people->dump(w.scheduler.clock().now()); // nothing has run since
  CHECK(trees[0].children[0].mailbox == 5);
  w.settle();
  trees = w.people->dump(w.scheduler.clock().now());
  CHECK(trees[0].children[0].mailbox == 0);
}
