// What a job with real lanes keeps when it cannot go on, and that it does not try for ever.

#include "actors/assignment.hpp"
#include "actors/conductor.hpp"
#include "actors/job_view.hpp"
#include "actors/journal_file.hpp"
#include "actors/tree.hpp"
#include "formats/read_log.hpp"
#include "tests/actors/jobs.hpp"

#include <caf/all.hpp>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <utility>

using namespace viva;
using namespace viva::tests;

namespace {

/// As long as it lives, lane processes of the liar program find it so.
class told_to_liars {
public:
  told_to_liars(const char* name, const std::string& value) : x_name(name) {
    ::setenv(name, value.c_str(), 1);
  }
  ~told_to_liars() {
    ::unsetenv(x_name);
  }
  told_to_liars(const told_to_liars&) = delete;

private:
  const char* x_name;
};

/// By one lane process, in many small shards.
quantize_spec by_one_process(const fs::path& source, const fs::path& output,
                             const fs::path& program = VIVA_PROGRAM) {
  auto spec = spec_for(source, output, "nf4");
  spec.limits.shard_bytes_max = 64 << 10;
  spec.limits.lanes = 1;
  spec.limits.lanes_are = isolation::process;
  spec.limits.lane_program = program;
  return spec;
}

/// Lanes, their spare and its nursery.
void kill_children() {
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream list{task.path() / "children"};
    for (pid_t pid = 0; list >> pid;)
      ::kill(pid, SIGKILL);
  }
}

/// What comes of a job whose one lane stands still in its midst, is killed, and has a successor,
/// which plans anew: behind `meanwhile`.
expected<job_report> run_held_up(quantize_spec spec, const std::function<void()>& meanwhile) {
  spec.faults.hang_at = 40;
  spec.limits.stall_seconds = 600; // longer than anybody waits
  bool told = false;
  job_observer observer;
  observer.on_progress = [&](const progress& now) {
    if (now.shards_done >= 20 && !std::exchange(told, true)) {
      meanwhile();
      kill_children();
    }
  };
  auto result = run_quantize(spec, observer);
  REQUIRE(told);
  return result;
}

} // namespace

TEST_CASE("kept work: a source that cannot be read for a while costs nothing that is durable") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto spec = by_one_process(source, folder / "out");
  const auto failed = run_held_up(spec, [&] { fs::rename(source, folder / "away"); });
  REQUIRE_FALSE(failed);
  INFO(failed.error().text);
  CHECK(failed.error().code == errc::unreadable);
  CHECK(failed.error().text.find("what is done is kept") != std::string::npos);
  CHECK(fs::exists(actors::partial_path(spec.output)));
  const auto journal = actors::read_journal(actors::journal_path(spec.output));
  REQUIRE(journal);
  REQUIRE(journal->done.size() >= 20);
  const auto status = status_of(spec.output);
  REQUIRE(status);
  CHECK(status->state == job_state::failed);
  CHECK(status->ended == "unreadable");
  CHECK(status->why == failed.error().text);
  fs::rename(folder / "away", source); // its files are what they were, to the inode and ctime
  CHECK(must(run_quantize(spec)).shards_resumed == journal->done.size());
  const auto whole = spec_for(source, folder / "whole", "nf4");
  must(run_quantize(whole));
  CHECK(bytes_of(spec.output) == bytes_of(whole.output));
}

TEST_CASE("kept work: where nothing is durable yet, an unreadable source leaves nothing") {
  const temporary_folder folder;
  const auto spec = by_one_process(synthesized(folder), folder / "out", VIVA_TEST_LIAR);
  const told_to_liars blind("VIVA_TEST_BLIND", "1");
  const auto failed = run_quantize(spec);
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code == errc::unreadable);
  CHECK(failed.error().text.find("kept") == std::string::npos);
  CHECK_FALSE(fs::exists(actors::partial_path(spec.output)));
  CHECK_FALSE(fs::exists(actors::journal_path(spec.output)));
}

TEST_CASE("kept work: a source that changed meanwhile is refused, and begun anew when told to") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  auto spec = by_one_process(source, folder / "out");
  const auto [file, at] = a_weight(source, q_proj);
  const auto failed = run_held_up(spec, [&] { plant(file, at, "?"); });
  REQUIRE_FALSE(failed);
  INFO(failed.error().text);
  CHECK(failed.error().code == errc::malformed);
  CHECK(failed.error().text.find("changed while the job ran") != std::string::npos);
  CHECK(failed.error().text.find("say --overwrite") != std::string::npos);
  CHECK(fs::exists(actors::partial_path(spec.output)));
  CHECK(status_of(spec.output)->ended == "malformed");
  const auto again = run_quantize(spec);
  REQUIRE_FALSE(again);
  CHECK(again.error().code == errc::fingerprint_mismatch);
  CHECK(again.error().text.find("--overwrite") != std::string::npos);
  spec.overwrite = true;
  CHECK(must(run_quantize(spec)).shards_resumed == 0);
  const auto whole = spec_for(source, folder / "whole", "nf4");
  must(run_quantize(whole));
  CHECK(bytes_of(spec.output) == bytes_of(whole.output));
}

TEST_CASE("kept work: what a job failed of is told by its journal, until a next life goes on") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "int8");
  spec.limits.shard_bytes_max = 64 << 10;
  spec.limits.lanes = 1;
  spec.faults.interrupt_after = 5;
  REQUIRE_FALSE(run_quantize(spec));
  auto status = status_of(spec.output);
  REQUIRE(status);
  CHECK(status->state == job_state::interrupted);
  CHECK(status->ended == "interrupted");
  spec.strict = true;
  spec.faults = {};
  spec.faults.poison = 30;
  const auto failed = run_quantize(spec);
  REQUIRE_FALSE(failed);
  status = status_of(spec.output);
  REQUIRE(status);
  CHECK(status->state == job_state::failed);
  CHECK(status->ended == "job_failed");
  CHECK(status->why == failed.error().text);
  CHECK(status->next.find("mend what ended it") == 0);
}

namespace {

/// How a job ends; none where that takes a minute.
std::optional<actors::job_outcome> outcome_of(actors::tree& lives,
                                              const actors::conductor_options& order) {
  const auto conductor = lives.start_job(order);
  REQUIRE(conductor);
  caf::scoped_actor self{lives.system()};
  self->send(*conductor, actors::run_job{caf::actor_cast<caf::actor>(self)});
  std::optional<actors::job_outcome> outcome;
  self->receive([&](actors::job_outcome& answer) { outcome = std::move(answer); },
                caf::after(std::chrono::seconds{60}) >> [] {});
  return outcome;
}

} // namespace

TEST_CASE("kept work: lanes that go before they begin, at each life, end the job with words") {
  const std::string code = GENERATE("75", "76"); // temporary, oom
  const temporary_folder folder;
  const auto spec = by_one_process(synthesized(folder), folder / "out", VIVA_TEST_LIAR);
  const auto c = formats::open_checkpoint(spec.source);
  REQUIRE(c);
  auto work = actors::plan_quantize(*c, spec, {});
  REQUIRE(work);
  REQUIRE(actors::fit_memory(*work, spec.limits, 1));
  auto place = actors::workplace::open(*work, spec.output, nullptr);
  REQUIRE(place);
  const told_to_liars ends("VIVA_TEST_ENDS", code);
  auto lives = actors::tree::grow(1, nullptr, spec.limits);
  REQUIRE(lives);
  actors::conductor_options order;
  order.site = std::make_shared<actors::job_site>(std::move(*work), std::move(*place),
                                                  fault_plan{}, false);
  order.policy.lane_ends_max = 10;
  const auto outcome = outcome_of(*lives, order);
  REQUIRE(outcome);
  INFO(outcome->problem.text);
  CHECK(outcome->problem.code == errc::job_failed);
  CHECK(outcome->problem.text.find("lane-0 ended 11 times") == 0);
  CHECK(outcome->problem.text.find("exit " + code + ": gone on purpose")
        != std::string::npos);
}

TEST_CASE("kept work: an output gets no name while lanes that were lost may write into it") {
  const temporary_folder folder;
  const auto spec = spec_for(synthesized(folder), folder / "out", "nf4");
  const auto c = formats::open_checkpoint(spec.source);
  REQUIRE(c);
  auto work = actors::plan_quantize(*c, spec, {});
  REQUIRE(work);
  REQUIRE(actors::fit_memory(*work, spec.limits, 1));
  auto place = actors::workplace::open(*work, spec.output, nullptr);
  REQUIRE(place);
  auto journal = actors::journal_file::open(actors::journal_path(spec.output), work->fingerprint,
                                            {});
  REQUIRE(journal);
  auto lives = actors::tree::grow(1, std::make_shared<actors::journal_file>(std::move(*journal)),
                                  spec.limits);
  REQUIRE(lives);
  actors::conductor_options order;
  order.site = std::make_shared<actors::job_site>(std::move(*work), std::move(*place),
                                                  fault_plan{}, false);
  std::atomic<int> asked{0}, named{0};
  order.strays = [&] { // some are lost while it waits for others
    named += fs::exists(spec.output) ? 1 : 0;
    return std::chrono::milliseconds{++asked < 4 ? 5 : 0};
  };
  const auto outcome = outcome_of(*lives, order);
  REQUIRE(outcome);
  CHECK(outcome->problem.code == errc::ok);
  CHECK(asked == 4);
  CHECK(named == 0);
  CHECK(fs::exists(spec.output));
}

TEST_CASE("kept work: a lane that hangs with what another has done is ended, and costs nothing") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder), folder / "out", "nf4");
  spec.limits.lanes_are = isolation::process;
  spec.limits.lane_program = VIVA_PROGRAM;
  spec.limits.stall_seconds = 600; // longer than anybody waits
  spec.faults.hang_at = 5;
  const auto report = must(run_quantize(spec));
  CHECK(report.copies > 0);
  CHECK(report.restarts == 0);
  CHECK(report.meters.deaths.empty());
  auto whole = spec_for(spec.source, folder / "whole", "nf4");
  must(run_quantize(whole));
  CHECK(bytes_of(spec.output) == bytes_of(whole.output));
}

TEST_CASE("kept work: planning tells of each file that it reads, or it would be taken for dead") {
  const temporary_folder folder;
  auto spec = spec_for(synthesized(folder, 3), folder / "out", "nf4");
  const auto c = formats::open_checkpoint(spec.source);
  REQUIRE(c);
  auto work = actors::plan_quantize(*c, spec, {});
  REQUIRE(work);
  REQUIRE(actors::fit_memory(*work, spec.limits, 2));
  const auto given = actors::decode_assignment(encode(actors::assignment{spec, {}, 2}, *work, {}));
  REQUIRE(given);
  int steps = 0;
  const formats::read_log reads([&] { ++steps; });
  REQUIRE(plan_again(*given));
  CHECK(steps > 2 * 3);
}
