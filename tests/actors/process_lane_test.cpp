// Lanes that are processes: the same bytes as from threads, whatever they die of.

#include "actors/assignment.hpp"
#include "actors/findings.hpp"
#include "actors/known_answer.hpp"
#include "actors/tree.hpp"
#include "tests/actors/jobs.hpp"
#include "tests/support/sanitized.hpp"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>

using namespace viva;
using namespace viva::tests;

namespace {

quantize_spec by_processes(quantize_spec spec) {
  spec.limits.lanes_are = isolation::process;
  spec.limits.lane_program = VIVA_PROGRAM;
  return spec;
}

/// A job by threads that nothing disturbed, and the bytes that every other way must come to.
struct undisturbed {
  temporary_folder folder;
  quantize_spec spec;
  decltype(bytes_of(fs::path())) truth;

  explicit undisturbed(const std::string& method) {
    spec = spec_for(synthesized(folder), folder / "whole", method);
    must(run_quantize(spec));
    truth = bytes_of(spec.output);
  }
  /// The same by processes into another output.
  quantize_spec processes_into(const std::string& name) const {
    auto other = by_processes(spec);
    other.output = folder / name;
    return other;
  }
};

} // namespace

TEST_CASE("process lanes: every method gives the bytes and the errors of thread lanes") {
  const temporary_folder folder;
  const auto source = synthesized(folder, 2);
  for (const auto& method : kernels::methods()) {
    const auto name = words_of(method);
    CAPTURE(name);
    auto spec = spec_for(source, folder / "threads", name);
    const auto by_threads = must(run_quantize(spec));
    spec = by_processes(spec);
    spec.output = folder / "processes";
    const auto report = must(run_quantize(spec));
    CHECK(bytes_of(spec.output) == bytes_of(folder / "threads"));
    CHECK(report.restarts == 0);
    CHECK(report.batches > 1);
    std::uint64_t held = 0;
    for (const auto& lane : report.meters.lanes) {
      CHECK((lane.peak_rss_bytes > 0) == (lane.shards > 0));
      held += lane.peak_rss_bytes;
    }
    CHECK(held > 1 << 20);
    CHECK(report.peak_rss_bytes > held);
    REQUIRE(report.tensors.size() == by_threads.tensors.size());
    for (std::size_t i = 0; i < report.tensors.size(); ++i)
      if (const auto& errors = by_threads.tensors[i].errors) {
        REQUIRE(report.tensors[i].errors);
        CHECK(report.tensors[i].errors->mse == errors->mse);
      }
    fs::remove_all(folder / "threads");
    fs::remove_all(folder / "processes");
  }
}

TEST_CASE("process lanes: dequantize, compare and the search for NaN run on them, too") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto [file, at] = a_weight(source, q_proj);
  plant(file, at, "\xC0\x7F"); // bf16 NaN
  auto spec = by_processes(spec_for(source, folder / "q", "nf4"));
  const auto refused = run_quantize(spec);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::not_finite);
  CHECK(refused.error().text.find(q_proj) != std::string::npos);
  spec.on_nan = nan_policy::keep;
  must(run_quantize(spec));
  for (const auto kind : {isolation::thread, isolation::process}) {
    dequantize_spec back;
    back.source = spec.output;
    back.output = folder / (kind == isolation::thread ? "back-t" : "back-p");
    back.limits = spec.limits;
    back.limits.lanes_are = kind;
    must(run_dequantize(back));
  }
  CHECK(bytes_of(folder / "back-t") == bytes_of(folder / "back-p"));
  compare_spec both;
  both.a = source;
  both.b = folder / "back-p";
  both.limits = spec.limits;
  CHECK(must(run_compare(both)).tensors.size() > 4);
}

TEST_CASE("process lanes: each way to die costs a lane and not a byte") {
  const undisturbed whole("nf4");
  const std::pair<const char*, std::uint32_t fault_plan::*> ways[] = {
    {"crash", &fault_plan::crash_at},     {"abort", &fault_plan::abort_at},
    {"hang", &fault_plan::hang_at},       {"oom", &fault_plan::oom_at},
    {"garbage", &fault_plan::garbage_at}, {"exit", &fault_plan::exit_at}};
  for (const auto& [way, at] : ways) {
    CAPTURE(way);
    if (tests::sanitized && at == &fault_plan::oom_at)
      continue; // a sanitizer without memory reports itself
    auto broken = whole.processes_into(way);
    if (at == &fault_plan::hang_at) {
      broken.limits.stall_seconds = 2;
      broken.limits.lanes = 1; // an idle one would be given a copy of what is late
    }
    broken.faults.*at = 5;
    const auto report = must(run_quantize(broken));
    CHECK(report.restarts == 1);
    CHECK(report.retries >= 1);
    CHECK(bytes_of(broken.output) == whole.truth);
    broken.limits.lanes_are = isolation::thread;
    broken.output = whole.folder / "refused";
    const auto refused = run_quantize(broken);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::bad_option);
  }
}

TEST_CASE("process lanes: a job whose lanes die all the time gives the same bytes") {
  const undisturbed whole("int8");
  auto spec = whole.processes_into("broken");
  spec.limits.shard_bytes_max = 64 << 10;
  spec.faults.throw_every = 7;
  const auto report = must(run_quantize(spec));
  CHECK(report.restarts > 5);
  CHECK(bytes_of(spec.output) == whole.truth);
}

TEST_CASE("process lanes: an interrupted job resumes on either kind of lane") {
  const undisturbed whole("nf4-dq");
  for (const auto first : {isolation::thread, isolation::process}) {
    auto stopped = whole.processes_into(first == isolation::thread ? "t" : "p");
    stopped.limits.shard_bytes_max = 64 << 10;
    stopped.limits.lanes_are = first;
    stop_early(stopped);
    auto resumed = stopped;
    resumed.limits.lanes_are
      = first == isolation::thread ? isolation::process : isolation::thread;
    CHECK(must(run_quantize(resumed)).shards_resumed > 0);
    CHECK(bytes_of(stopped.output) == whole.truth);
  }
}

TEST_CASE("process lanes: lanes that lie about their work are replaced by honest ones") {
  const undisturbed whole("nf4");
  auto spec = whole.processes_into("out");
  spec.limits.lane_program = VIVA_TEST_LIAR;
  const auto lies = whole.folder / "lies";
  fs::create_directory(lies);
  ::setenv("VIVA_TEST_LIES", lies.c_str(), 1);
  const auto report = must(run_quantize(spec));
  ::unsetenv("VIVA_TEST_LIES");
  std::uint64_t said = 0; // a liar that got no work before the job was done has not lied
  for (int i = 0; i < 14; ++i) {
    CHECK(fs::exists(lies / std::to_string(i)));
    said += fs::exists(lies / ("said-" + std::to_string(i)));
  }
  CHECK(said >= 11); // at most one a lane and a spare are left
  CHECK(report.restarts + 1 >= said); // whoever held work and lied died; the last may have no heir
  CHECK(bytes_of(spec.output) == whole.truth);
}

TEST_CASE("process lanes: one that refuses its input ends the job, nothing is thrown away") {
  const undisturbed whole("nf4");
  auto spec = whole.processes_into("out");
  spec.limits.lane_program = VIVA_TEST_LIAR;
  ::setenv("VIVA_TEST_REFUSES", "1", 1);
  const auto refused = run_quantize(spec);
  ::unsetenv("VIVA_TEST_REFUSES");
  REQUIRE_FALSE(refused);
  INFO(refused.error().text);
  CHECK(refused.error().code == errc::job_failed);
  CHECK(refused.error().text.find("bad_input: exit 73: a tensor of no dimension")
        != std::string::npos);
  CHECK_FALSE(fs::exists(spec.output));
  CHECK(fs::exists(actors::partial_path(spec.output))); // a lane's word is no proof
}

TEST_CASE("process lanes: the census shows which process each lane speaks for") {
  job_limits limits;
  limits.lanes_are = isolation::process;
  limits.lane_program = VIVA_PROGRAM;
  const auto lives = actors::tree::grow(2, nullptr, limits);
  REQUIRE(lives);
  std::set<pid_t> children;
  for (const auto& task : fs::directory_iterator("/proc/self/task")) {
    std::ifstream in{task.path() / "children"};
    for (pid_t child = 0; in >> child;)
      children.insert(child);
  }
  const auto people = lives->census();
  REQUIRE(people.size() == 1);
  std::set<pid_t> lanes;
  for (const auto& each : people[0].children) {
    CHECK(each.process == 0);
    if (each.id == "lanes")
      for (const auto& lane : each.children)
        lanes.insert(lane.process);
  }
  CHECK(lanes.size() == 2);
  CHECK(std::ranges::includes(children, lanes));
  const auto told = supervision::to_text(people);
  CHECK(told.find("  process " + std::to_string(*lanes.begin())) != std::string::npos);
}

TEST_CASE("process lanes: lanes that are killed while they start cost the job nothing") {
  const undisturbed whole("nf4");
  const auto program = whole.folder / "lane.sh";
  std::ofstream(program) << "#!/bin/sh\nfor i in 1 2 3 4 5; do\n  mkdir '"
                         << (whole.folder / "life").native()
                         << "'$i 2>/dev/null && kill -9 $$\ndone\nexec '" << VIVA_PROGRAM
                         << "' \"$@\"\n";
  fs::permissions(program, fs::perms::owner_all);
  auto spec = whole.processes_into("out");
  spec.limits.lane_program = program;
  must(run_quantize(spec));
  CHECK(fs::exists(whole.folder / "life5"));
  CHECK(bytes_of(spec.output) == whole.truth);
}

TEST_CASE("process lanes: a program that is no lane ends the job with words") {
  const temporary_folder folder;
  auto spec = by_processes(spec_for(synthesized(folder), folder / "out", "nf4"));
  spec.limits.lane_program = "/bin/false";
  const auto failed = run_quantize(spec);
  REQUIRE_FALSE(failed);
  INFO(failed.error().text);
  CHECK(failed.error().text.find("exit 1") != std::string::npos);
  CHECK(failed.error().text.find("run the same command again") != std::string::npos);
}

TEST_CASE("process lanes: a position is digits of a place within its tensor") {
  actors::plan work;
  work.tensors.resize(1);
  work.tensors[0].rows = 2;
  work.tensors[0].cols = 3;
  work.shards.push_back({actors::task::scan, 0, 0, 2, 24});
  work.shards.push_back({actors::task::copy, 0, 0, 2, 24});
  for (const auto* told : {"", "0", "5"})
    CHECK(actors::findings_make_sense(work, 0, told));
  for (const auto* told : {"6", "-1", "+1", " 1", "1 ", "0x1", "x", "99999999999999999999"})
    CHECK_FALSE(actors::findings_make_sense(work, 0, told));
  CHECK_FALSE(actors::findings_make_sense(work, 1, "1"));
  actors::findings_book book{work, nullptr};
  std::vector<std::uint32_t> released;
  CHECK_FALSE(book.take(0, "99999999999999999999", released));
  CHECK(book.take(0, "5", released));
  CHECK(book.take(0, "4", released));
  CHECK(book.not_finite_at()[0] == "4");
}

TEST_CASE("process lanes: references and fast paths give one known answer") {
  CHECK(actors::known_answer(kernels::path::reference)
        == actors::known_answer(kernels::path::simd));
}

TEST_CASE("process lanes: what each needs counts in the memory that a job may use") {
  const temporary_folder folder;
  const auto c = formats::open_checkpoint(synthesized(folder));
  REQUIRE(c);
  auto spec = spec_for(folder / "source", folder / "out", "nf4");
  spec.limits.memory_bytes_max = 64 << 20;
  const auto lanes = 32;
  const auto made = actors::plan_quantize(*c, spec, {});
  REQUIRE(made);
  auto threads = *made, processes = *made;
  REQUIRE(actors::fit_memory(threads, spec.limits, lanes));
  spec.limits.lanes_are = isolation::process;
  const auto refused = actors::fit_memory(processes, spec.limits, lanes);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::over_budget);
  spec.limits.memory_bytes_max
    += (lanes + 2) * (2ull << 20) + lanes * threads.tensors.size() * (4 << 10)
       + lanes * threads.shards.size() * 2 * sizeof(actors::shard);
  REQUIRE(actors::fit_memory(processes, spec.limits, lanes));
  CHECK(processes.run_values_max == threads.run_values_max);
}

TEST_CASE("process lanes: a plan made again from its assignment is the same, or refused") {
  const temporary_folder folder;
  const auto source = synthesized(folder);
  const auto spec = spec_for(source, folder / "out\xFF\xFE", "nf4"); // not UTF-8
  const auto c = formats::open_checkpoint(source);
  REQUIRE(c);
  auto work = actors::plan_quantize(*c, spec, {});
  REQUIRE(work);
  REQUIRE(actors::fit_memory(*work, spec.limits, 2));
  const auto bytes = encode(actors::assignment{spec, {}, 2}, *work, {3, 4});
  auto given = actors::decode_assignment(bytes);
  REQUIRE(given);
  CHECK(output_of(*given) == spec.output);
  CHECK(given->partial == actors::file_identity{3, 4});
  const auto again = plan_again(*given);
  REQUIRE(again);
  CHECK(again->shards.size() == work->shards.size());
  CHECK(again->run_values_max == work->run_values_max);
  const auto [file, at] = a_weight(source, q_proj);
  plant(file, at, "x");
  const auto changed = plan_again(*given);
  REQUIRE_FALSE(changed);
  CHECK(changed.error().code == errc::malformed);
  for (std::size_t i = 0; i < bytes.size(); i += 7)
    CHECK_FALSE(actors::decode_assignment(std::string_view(bytes).substr(0, i)));
  // Lists in lists: read to its end it would be the end of the stack.
  CHECK_FALSE(actors::decode_assignment(std::string(1 << 20, '\x91')));
}
