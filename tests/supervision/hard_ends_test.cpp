// Ends that a guardian cannot see for what they are: of one that no kill ends, of one that was
// killed for memory by somebody else than the system, and one whose status somebody else took.

#include "supervision/oom_kills.hpp"
#include "tests/support/heard_log.hpp"
#include "tests/support/temporary_folder.hpp"
#include "tests/supervision/wards.hpp"

#include <atomic>
#include <csignal>
#include <fstream>
#include <future>
#include <thread>

#include <sys/syscall.h>
#include <sys/wait.h>

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

namespace {

std::atomic<bool> signals_are_lost = false;

} // namespace

// The linker puts this in for `syscall`: to a guardian, one that gets no signal is like one in a
// call of the system's that does not return.
extern "C" long __real_syscall(long, long, long, long, long, long, long);
extern "C" long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
  if (number == SYS_pidfd_send_signal && signals_are_lost)
    return 0;
  return __real_syscall(number, a, b, c, d, e, f);
}

namespace {

struct lost_signals {
  lost_signals() {
    signals_are_lost = true;
  }
  ~lost_signals() {
    signals_are_lost = false;
  }
};

process_options briefly() {
  auto options = ward_options();
  options.kill_limit = 200ms;
  return options;
}

template <class Claim>
bool comes_true(Claim claim) {
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (!claim() && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  return claim();
}

/// A ward that works on 42 and does not end; how it ends is told to `note`.
std::unique_ptr<process> stuck(guardian& keeper, std::function<void(const process_end&)> note) {
  auto whom = keeper.start(briefly());
  std::promise<void> ready, heard;
  whom->attach({.on_ready = [&] { ready.set_value(); },
                .on_frame = [&](frame&&) { heard.set_value(); }});
  ready.get_future().wait();
  whom->send({frame_kind::first_free, "mark 42", {}});
  whom->send({frame_kind::first_free, "echo marked", {}});
  heard.get_future().wait();
  whom->send({frame_kind::first_free, "stall", {}}); // nor does the end of its channel end it
  whom->attach({.on_end = std::move(note)});
  return whom;
}

/// /proc/meminfo of a machine with so much left.
std::string meminfo(const std::filesystem::path& where, int available_kib) {
  std::ofstream{where} << "MemTotal:       16384000 kB\nMemFree:          100000 kB\n"
                       << "MemAvailable:   " << available_kib << " kB\nBuffers:  1 kB\n";
  return where.native();
}

std::string killed_where(const std::string& memory) {
  guardian keeper{memory};
  witness who{keeper.start(ward_options())};
  REQUIRE(who.ready());
  who.order("raise 9");
  return to_text(who.end().reason);
}

} // namespace

TEST_CASE("process: one that no kill ends is told once, and buried when it ends") {
  const heard_log log;
  guardian keeper;
  std::atomic<int> ends = 0;
  std::promise<process_end> told;
  const auto whom = stuck(keeper, [&](const process_end& how) {
    if (ends++ == 0)
      told.set_value(how);
  });
  const auto number = whom->pid();
  {
    const lost_signals meanwhile;
    whom->kill(fault::stalled, "no progress");
    auto hears = told.get_future();
    REQUIRE(hears.wait_for(10s) == std::future_status::ready);
    const auto end = hears.get();
    CHECK(to_text(end.reason) == "stalled: no progress: does not end although killed");
    CHECK(end.mark == 42);
  }
  CHECK(::kill(number, 0) == 0);
  CHECK(log.lines_with("process " + std::to_string(number) + " does not end").size() == 1);
  witness next{keeper.start(ward_options())}; // the guardian has not waited for it
  CHECK(next.ready());
  whom->kill(fault::hang, "no use");
  ::kill(number, SIGKILL); // the system lets it go
  CHECK(comes_true([&] { return ::kill(number, 0) == -1; })); // not even a zombie
  next.order("echo still here");
  CHECK(next.answer() == "still here");
  CHECK(ends == 1);
}

TEST_CASE("process: one that no kill ends holds its guardian's end up for its limit only") {
  std::optional<guardian> keeper;
  keeper.emplace();
  std::atomic<int> ends = 0;
  std::string why;
  const auto whom = stuck(*keeper, [&](const process_end& how) {
    why = to_text(how.reason);
    ++ends;
  });
  {
    const lost_signals meanwhile;
    keeper.reset();
  }
  CHECK(why == "shutdown: does not end although killed");
  CHECK(ends == 1);
  // It ends as its guardian's thread does, and only this process is left to bury it.
  CHECK(::waitpid(whom->pid(), nullptr, 0) == whom->pid());
}

TEST_CASE("process: a kill by somebody else is one for memory where little of it is left") {
  const viva::tests::temporary_folder folder;
  CHECK(killed_where(meminfo(folder / "low", 800'000)) == "oom: SIGKILL");
  CHECK(killed_where(meminfo(folder / "enough", 8'000'000)) == "killed: SIGKILL");
  CHECK(killed_where("/no/such/file") == "killed: SIGKILL");
}

TEST_CASE("process: what is left of memory is told by the system's own file") {
  const auto few = memory_left_in("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:   59 kB\n");
  CHECK(few.total == 1000);
  CHECK(few.available == 59);
  CHECK(is_low(few));
  CHECK_FALSE(is_low({1000, 60}));
  for (const auto* text : {"", "MemTotal: 1000 kB\n", "MemAvailable: 1 kB\n", "MemTotal:\n"})
    CHECK_FALSE(is_low(memory_left_in(text)));
  CHECK_FALSE(is_low(memory_left("/no/such/file")));
  CHECK(memory_left("/proc/meminfo").available > 0);
  CHECK(memory_left("/proc/meminfo").total > memory_left("/proc/meminfo").available);
}

TEST_CASE("process: where somebody else takes how it ended it is told as killed, and the log says "
          "so once") {
  const heard_log log;
  ::signal(SIGCHLD, SIG_IGN); // the system keeps no status
  {
    guardian keeper;
    for (int i = 0; i < 3; ++i) {
      witness who{keeper.start(ward_options())};
      REQUIRE(who.ready());
      who.order("exit 3");
      CHECK(to_text(who.end().reason) == "killed: SIGKILL");
    }
  }
  ::signal(SIGCHLD, SIG_DFL);
  CHECK(log.lines_with("ended is not known").size() == 1);
}
