// Real processes: how they start, speak, fall silent and die, and what is left of them.

#include "supervision/oom_kills.hpp"
#include "supervision/ward.hpp"
#include "tests/support/holdings.hpp"
#include "tests/supervision/wards.hpp"

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

using namespace viva::supervision;
using namespace viva::supervision::testing;
using namespace std::chrono_literals;

namespace {

/// Ends one process as the order says and tells why it ended.
caf::error end_of(guardian& keeper, const std::string& order,
                  process_options options = ward_options()) {
  witness who{keeper.start(std::move(options))};
  REQUIRE(who.ready());
  who.order(order);
  return who.end().reason;
}

process_options from_nursery() {
  auto options = ward_options();
  options.nursery = {VIVA_TEST_WARD, "nursery"};
  return options;
}

/// Processes of ours that were started as nursery, or forked from one.
std::set<pid_t> of_nursery() {
  std::set<pid_t> all;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream in{task.path() / "children"};
    for (pid_t child = 0; in >> child;) {
      std::ifstream line{"/proc/" + std::to_string(child) + "/cmdline"};
      const std::string words{std::istreambuf_iterator<char>(line), {}};
      if (words.find("nursery") != std::string::npos)
        all.insert(child);
    }
  }
  return all;
}

/// A process that lives beside us.
struct bystander {
  pid_t number = 0;
  bystander() {
    FILE* told = ::popen("sleep 100 >&- 2>&- & echo $!", "r");
    REQUIRE(told != nullptr);
    CHECK(std::fscanf(told, "%d", &number) == 1);
    ::pclose(told);
    REQUIRE(number > 0);
  }
  ~bystander() {
    ::kill(number, SIGKILL);
  }
};

void die_often(int deaths, const process_options& options = ward_options()) {
  const own_temporary_files temporary;
  const auto keeper = std::make_shared<guardian>();
  standby source{keeper, options, true};
  const std::string orders[] = {"raise 11", "raise 9", "exit 3", "nonsense 2", "quit", "echo x"};
  const auto live_once = [&](int i) {
    witness who{source.take()};
    REQUIRE(who.ready());
    who.order(orders[i % 6]);
    if (i % 6 == 5)
      who.whom().kill(fault::stalled, "enough");
    who.end();
  };
  for (int i = 0; i < 30; ++i) // the allocator's, the loader's and the library's own first needs
    live_once(i);
  const auto before = at_rest(source);
  for (int i = 0; i < deaths; ++i)
    live_once(i);
  check_nothing_left(before, at_rest(source));
}

} // namespace

TEST_CASE("process: it is ready, answers in order, and leaves with a goodbye") {
  guardian keeper;
  witness who{keeper.start(ward_options())};
  REQUIRE(who.ready());
  for (int i = 0; i < 100; ++i)
    who.order("echo " + std::to_string(i));
  for (int i = 0; i < 100; ++i)
    CHECK(who.answer() == std::to_string(i));
  CHECK(who.whom().pid() > 0);
  who.whom().leave();
  CHECK_FALSE(who.end().reason);
}

TEST_CASE("process: a death is told once with its reason and what was worked on") {
  guardian keeper;
  witness who{keeper.start(ward_options())};
  REQUIRE(who.ready());
  who.order("mark 42");
  who.order("raise 11");
  const auto end = who.end();
  CHECK(to_text(end.reason) == "crash: SIGSEGV");
  CHECK(end.mark == 42);
  CHECK(to_text(end_of(keeper, "exit 9")) == "exit_code: exit 9");
  CHECK(to_text(end_of(keeper, "exit 71")) == "device_sticky: exit 71");
  CHECK(to_text(end_of(keeper, "quit")) == "early_exit: exit 0");
  CHECK(to_text(end_of(keeper, "raise 9")) == "killed: SIGKILL");
}

TEST_CASE("process: its last words come along") {
  guardian keeper;
  CHECK(to_text(end_of(keeper, "throw")) == "exit_code: exit 70: thrown on purpose");
  CHECK(to_text(end_of(keeper, "no memory")) == "oom: exit 76: std::bad_alloc");
  CHECK(to_text(end_of(keeper, "terminate")) == "aborted: SIGABRT: thrown through noexcept");
}

TEST_CASE("process: one whose heart stops is killed for it, stopped or not") {
  guardian keeper;
  auto options = ward_options();
  options.heartbeat_limit = 300ms;
  for (const auto* order : {"hush", "raise 19"})
    CHECK(to_text(end_of(keeper, order, options)) == "hang: no heartbeat for 300 ms");
}

TEST_CASE("process: work that stands still is killed though the heart beats, if work was due") {
  guardian keeper;
  witness idle{keeper.start(ward_options())};
  witness busy{keeper.start(ward_options())};
  REQUIRE(idle.ready());
  REQUIRE(busy.ready());
  busy.whom().expect_progress(200ms);
  busy.order("mark 7");
  busy.order("stall");
  const auto end = busy.end();
  CHECK(to_text(end.reason) == "stalled: no progress for 200 ms");
  CHECK(end.mark == 7);
  idle.order("echo still here");
  CHECK(idle.answer() == "still here");
}

TEST_CASE("process: one that speaks nonsense is killed, and its guardian lives") {
  guardian keeper;
  witness neighbour{keeper.start(ward_options())};
  REQUIRE(neighbour.ready());
  for (unsigned seed = 0; seed < 40; ++seed) {
    const auto why = end_of(keeper, "nonsense " + std::to_string(seed));
    INFO("seed " << seed << ": " << to_text(why));
    CHECK(is(why, fault::protocol));
  }
  CHECK(to_text(end_of(keeper, "long")) == "protocol: a frame longer than 131072 bytes");
  CHECK(is(end_of(keeper, "odd"), fault::protocol));
  const auto cut_off = to_text(end_of(keeper, "narrow"));
  CHECK(cut_off.find("exit 70: a frame of 131072 bytes is longer") != std::string::npos);
  neighbour.order("echo unharmed");
  CHECK(neighbour.answer() == "unharmed");
}

TEST_CASE("process: one that is not ready in time, or is another, never starts") {
  guardian keeper;
  auto options = ward_options("mute");
  options.start_limit = 200ms;
  witness mute{keeper.start(options)};
  CHECK_FALSE(mute.ready());
  CHECK(to_text(mute.end().reason) == "start_timed_out: not ready within 200 ms");
  witness stranger{keeper.start(ward_options("stranger"))};
  CHECK_FALSE(stranger.ready());
  const auto why = stranger.end().reason;
  CHECK(to_text(why) == "misconfigured: it is 'another build', expected is 'test ward'");
  CHECK(blame_of(why) == blame::machine);
  options.command = {"/no/such/program"};
  witness nobody{keeper.start(options)};
  CHECK(is(nobody.end().reason, fault::start_failed));
}

TEST_CASE("process: one for which the system has no room now may be tried again") {
  guardian keeper;
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  rlimit none = before;
  none.rlim_cur = 0;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  witness who{keeper.start(ward_options())};
  const auto how = who.end();
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  CHECK(to_text(how.reason) == "temporary: no socket: Too many open files");
  witness next{keeper.start(ward_options())};
  CHECK(next.ready());
}

TEST_CASE("process: one that will not leave is killed after the grace") {
  guardian keeper;
  auto options = ward_options();
  options.grace = 100ms;
  witness who{keeper.start(options)};
  REQUIRE(who.ready());
  who.order("stall");
  who.whom().leave();
  CHECK(is(who.end().reason, fault::shutdown));
}

TEST_CASE("process: with its handle or its guardian it is gone") {
  std::optional<guardian> keeper;
  keeper.emplace();
  pid_t dropped = 0;
  {
    witness who{keeper->start(ward_options())};
    REQUIRE(who.ready());
    dropped = who.whom().pid();
    who.whom().attach({});
  }
  witness stopped{keeper->start(ward_options())};
  REQUIRE(stopped.ready());
  stopped.order("raise 19");
  keeper.reset();
  CHECK(is(stopped.end().reason, fault::shutdown));
  CHECK(::kill(dropped, 0) == -1); // not even a zombie
  stopped.whom().kill(fault::stalled, "nobody hears this");
}

TEST_CASE("process: one whose guardian ended before it could ask to be told begins nothing") {
  auto ends = channel::make_pair();
  auto page = pulse::make();
  REQUIRE((ends && page));
  const descriptor talk{::fcntl(ends->second.native(), F_DUPFD_CLOEXEC, ward_pulse_fd + 1)};
  const descriptor heart{::fcntl(page->native(), F_DUPFD_CLOEXEC, ward_pulse_fd + 1)};
  ends->first = channel{};
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files, talk.get(), ward_channel_fd);
  ::posix_spawn_file_actions_adddup2(&files, heart.get(), ward_pulse_fd);
  std::string name = VIVA_TEST_WARD, mode = GENERATE("obey", "nursery");
  char* const words[] = {name.data(), mode.data(), nullptr};
  pid_t made = 0;
  REQUIRE(::posix_spawn(&made, words[0], &files, nullptr, words, environ) == 0);
  ::posix_spawn_file_actions_destroy(&files);
  int status = 0;
  REQUIRE(::waitpid(made, &status, 0) == made);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 2); // as where nobody ever guarded it
  CHECK(page->page().beats.load() == 0);
}

TEST_CASE("process: a ward that does not read holds nobody up") {
  guardian keeper;
  witness deaf{keeper.start(ward_options())};
  witness other{keeper.start(ward_options())};
  REQUIRE(deaf.ready());
  REQUIRE(other.ready());
  deaf.order("stall");
  for (int i = 0; i < 20; ++i)
    deaf.order("echo " + std::string(100'000, 'x'));
  other.order("echo in time");
  CHECK(other.answer() == "in time");
  deaf.whom().kill(fault::stalled, {});
  CHECK(is(deaf.end().reason, fault::stalled));
}

TEST_CASE("process: a spare is ready at once, and one that died is replaced") {
  const auto keeper = std::make_shared<guardian>();
  standby source{keeper, ward_options(), true};
  witness first{source.take()};
  REQUIRE(first.ready());
  for (int i = 0; i < 3; ++i) {
    witness next{source.take()};
    REQUIRE(next.ready());
    next.order("echo here");
    CHECK(next.answer() == "here");
    ::kill(next.whom().pid(), SIGKILL);
    CHECK(is(next.end().reason, fault::killed));
  }
}

TEST_CASE("process: wards are forked from a nursery, and spawned while there is none") {
  auto keeper = std::make_unique<guardian>();
  // Starts wards until one comes from a nursery; each is ready and ends as it is told.
  const auto until_born = [&] {
    for (int i = 0; i < 1000; ++i) {
      witness who{keeper->start(from_nursery())};
      REQUIRE(who.ready());
      const bool born = of_nursery().contains(who.whom().pid());
      CHECK(::getpgid(who.whom().pid()) == who.whom().pid()); // or Ctrl-C would be for it, too
      who.order(born ? "raise 11" : "exit 3");
      CHECK(to_text(who.end().reason) == (born ? "crash: SIGSEGV" : "exit_code: exit 3"));
      if (born)
        return true;
    }
    return false;
  };
  REQUIRE(until_born());
  for (int i = 0; i < 3; ++i) { // the nursery itself dies
    const auto nursery = of_nursery();
    REQUIRE(nursery.size() == 1);
    ::kill(*nursery.begin(), i == 0 ? SIGKILL : i == 1 ? SIGSEGV : SIGSTOP);
    REQUIRE(until_born());
    CHECK_FALSE(of_nursery().contains(*nursery.begin()));
  }
  witness last{keeper->start(from_nursery())};
  REQUIRE(last.ready());
  CHECK(of_nursery().size() == 2);
  keeper.reset();
  CHECK(of_nursery().empty());
}

TEST_CASE("process: a nursery that dies between a fork and its answer leaves nobody behind") {
  auto options = ward_options();
  options.nursery = {VIVA_TEST_WARD, "nursery", "dies"};
  if (GENERATE(false, true)) // else the newborn ends by itself, and is to be buried
    options.nursery.push_back("deaf");
  guardian keeper;
  std::set<pid_t> seen;
  for (int i = 0; i < 1000 && seen.size() < 4; ++i) {
    witness who{keeper.start(options)};
    REQUIRE(who.ready()); // the system made another where the nursery died
    seen.merge(of_nursery());
    who.order("exit 3");
    CHECK(to_text(who.end().reason) == "exit_code: exit 3");
  }
  REQUIRE(seen.size() >= 4); // three died
  const auto left = [] { return holdings::now().children; };
  for (const auto until = std::chrono::steady_clock::now() + 10s;
       left() > 1 && std::chrono::steady_clock::now() < until;)
    std::this_thread::yield();
  CHECK(left() <= 1); // the nursery that lives
}

TEST_CASE("process: whom a nursery names without having made it is left alone") {
  guardian keeper;
  witness neighbour{keeper.start(ward_options())};
  REQUIRE(neighbour.ready());
  const bystander stranger; // no child of ours
  auto options = ward_options();
  options.nursery = {VIVA_TEST_WARD, "nursery", "lies"};
  options.nursery.push_back(
    std::to_string(GENERATE(false, true) ? stranger.number : neighbour.whom().pid()));
  if (GENERATE(false, true))
    options.nursery.push_back("page");
  std::set<pid_t> seen;
  for (int i = 0; i < 1000 && seen.size() < 3; ++i) {
    witness who{keeper.start(options)};
    REQUIRE(who.ready()); // another was made
    seen.merge(of_nursery());
    who.order("exit 3");
    CHECK(to_text(who.end().reason) == "exit_code: exit 3");
  }
  REQUIRE(seen.size() >= 3); // two lied, and ended for it
  neighbour.order("echo unharmed");
  CHECK(neighbour.answer() == "unharmed");
  CHECK(::kill(stranger.number, 0) == 0);
}

TEST_CASE("process: where the nursery is none, wards are spawned all the same") {
  guardian keeper;
  auto options = ward_options();
  options.nursery = {VIVA_TEST_WARD, "stranger"};
  for (int i = 0; i < 20; ++i) {
    witness who{keeper.start(options)};
    REQUIRE(who.ready());
    who.order("exit 3");
    CHECK(to_text(who.end().reason) == "exit_code: exit 3");
  }
}

TEST_CASE("process: nothing is left of 120 deaths of wards from a nursery") {
  die_often(120, from_nursery());
}

TEST_CASE("process: nothing is left of 120 deaths") {
  die_often(120);
}

TEST_CASE("process: nothing is left of 10,000 deaths", "[.long]") {
  die_often(10'000);
}

TEST_CASE("process: kills for memory are counted where the system counts them") {
  CHECK(oom_kills_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n") == 3);
  CHECK(oom_kills_in("low 0\noom 4\noom_kill 12\noom_group_kill 0\n") == 12);
  CHECK(oom_kills_in("nothing of use\n") == 0);
  CHECK(oom_kills_in("") == 0);
}
