// Exit status to reason to blame, row by row.

#include "supervision/death.hpp"
#include "tests/support/catch.hpp"

#include <caf/exit_reason.hpp>
#include <caf/sec.hpp>

#include <csignal>

using namespace viva::supervision;

namespace {

constexpr exit_status exited(int code) {
  return {true, code};
}
constexpr exit_status signalled(int number) {
  return {false, number};
}

void check_death(exit_status how, const last_known& known, fault code, blame whom,
                 const std::string& text) {
  const auto reason = judge_death(how, known);
  INFO(to_text(reason));
  CHECK(is(reason, code));
  CHECK(blame_of(reason) == whom);
  CHECK(to_text(reason) == text);
  CHECK(ending_of(reason) == (code == fault::shutdown ? ending::shutdown : ending::abnormal));
}

} // namespace

TEST_CASE("death: an exit 0 after a goodbye is normal, without one it is the lane's fault") {
  CHECK_FALSE(judge_death(exited(0), {.said_goodbye = true}));
  check_death(exited(0), {}, fault::early_exit, blame::lane, "early_exit: exit 0");
  check_death(exited(0), {.killed_for = fault::shutdown}, fault::shutdown, blame::nobody,
              "shutdown");
}

TEST_CASE("death: each signal has its reason and its blame") {
  for (const int number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS}) {
    const auto reason = judge_death(signalled(number), {});
    INFO(to_text(reason));
    CHECK(is(reason, fault::crash));
    CHECK(blame_of(reason) == blame::work);
  }
  check_death(signalled(SIGSEGV), {}, fault::crash, blame::work, "crash: SIGSEGV");
  check_death(signalled(SIGABRT), {.words = "x < y"}, fault::aborted, blame::work,
              "aborted: SIGABRT: x < y");
  check_death(signalled(SIGXCPU), {}, fault::stalled, blame::work, "stalled: SIGXCPU");
  check_death(signalled(SIGKILL), {}, fault::killed, blame::nobody, "killed: SIGKILL");
  check_death(signalled(SIGTERM), {}, fault::killed, blame::nobody, "killed: SIGTERM");
  check_death(signalled(SIGKILL), {.memory_was_short = true}, fault::oom, blame::work,
              "oom: SIGKILL");
}

TEST_CASE("death: a kill of ours is what we meant by it, unless it had crashed already") {
  const auto mine = [](fault why) { return last_known{.killed_for = why, .words = "no beat"}; };
  check_death(signalled(SIGKILL), mine(fault::hang), fault::hang, blame::lane, "hang: no beat");
  check_death(signalled(SIGKILL), mine(fault::stalled), fault::stalled, blame::work,
              "stalled: no beat");
  check_death(signalled(SIGKILL), mine(fault::protocol), fault::protocol, blame::lane,
              "protocol: no beat");
  check_death(signalled(SIGTERM), mine(fault::shutdown), fault::shutdown, blame::nobody,
              "shutdown: no beat");
  check_death(signalled(SIGSEGV), mine(fault::shutdown), fault::crash, blame::work,
              "crash: SIGSEGV: no beat");
  const last_known both{.killed_for = fault::stalled, .memory_was_short = true};
  check_death(signalled(SIGKILL), both, fault::stalled, blame::work, "stalled");
}

TEST_CASE("death: exit codes 71 to 78 say why, any other blames the work") {
  namespace words = exit_words;
  struct row {
    int code;
    fault why;
    blame whom;
  };
  for (const auto& each : {row{words::device_sticky, fault::device_sticky, blame::work},
                           row{words::device_lost, fault::device_lost, blame::device},
                           row{words::bad_input, fault::bad_input, blame::work},
                           row{words::io, fault::io, blame::machine},
                           row{words::temporary, fault::temporary, blame::nobody},
                           row{words::oom, fault::oom, blame::work},
                           row{words::fenced, fault::fenced, blame::nobody},
                           row{words::misconfigured, fault::misconfigured, blame::machine},
                           row{1, fault::exit_code, blame::work},
                           row{127, fault::exit_code, blame::work}})
    check_death(exited(each.code), {}, each.why, each.whom,
                std::string(to_string(each.why)) + ": exit " + std::to_string(each.code));
}

TEST_CASE("death: what ends an actor has a blame, too") {
  CHECK(blame_of({}) == blame::nobody);
  CHECK(blame_of(caf::exit_reason::user_shutdown) == blame::nobody);
  CHECK(blame_of(caf::exit_reason::kill) == blame::nobody);
  CHECK(blame_of(make_error(fault::exception, "boom")) == blame::work);
  CHECK(blame_of(caf::sec::runtime_error) == blame::work);
  CHECK(to_string(blame_of(make_error(fault::io))) == "machine");
}
