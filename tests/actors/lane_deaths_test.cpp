// What is left of lane processes that die with a job's files open: nothing.

#include "actors/assignment.hpp"
#include "actors/lane_frames.hpp"
#include "actors/port.hpp"
#include "tests/actors/jobs.hpp"
#include "tests/support/holdings.hpp"
#include "tests/support/sanitized.hpp"
#include "tests/support/witness.hpp"

#include <csignal>

#include <fcntl.h>
#include <unistd.h>

using namespace viva;
using namespace viva::tests;
using namespace viva::supervision::testing;
using actors::lane_fault;
using supervision::fault;

namespace {

/// Faults put in on purpose say so, each in a line; so do the lanes' own deaths.
class no_words {
public:
  no_words() : x_before(::dup(STDERR_FILENO)) {
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(nowhere, STDERR_FILENO);
    ::close(nowhere);
  }
  ~no_words() {
    ::dup2(x_before, STDERR_FILENO);
    ::close(x_before);
  }
  no_words(const no_words&) = delete;

private:
  int x_before;
};

/// A job as its lanes get to know it, its output under its partial name.
struct half_a_job {
  quantize_spec spec;
  actors::plan work;
  std::optional<actors::workplace> place;
  std::string assignment;

  explicit half_a_job(const fs::path& folder) {
    formats::synth_options options;
    options.output = folder / "source";
    options.bytes = 1 << 20;
    REQUIRE(formats::synthesize(options, {}));
    spec = spec_for(options.output, folder / "out", "nf4");
    const auto c = formats::open_checkpoint(spec.source);
    REQUIRE(c);
    // Longer than a frame, so that each assignment travels in a memfd of its own.
    const std::map<std::string, std::string> kept{{q_proj, std::string(200'000, 'x')}};
    auto made = actors::plan_quantize(*c, spec, kept);
    REQUIRE(made);
    REQUIRE(actors::fit_memory(*made, spec.limits, 2));
    work = std::move(*made);
    auto opened = actors::workplace::open(work, spec.output, nullptr);
    REQUIRE(opened);
    place = std::move(*opened);
    assignment = encode(actors::assignment{spec, kept, 2}, work, place->partial_identity());
  }
  std::string order(std::uint64_t number, lane_fault how) const {
    const auto shard = static_cast<std::uint32_t>(number % work.shards.size());
    actors::shard_task task;
    task.id = {shard, 1};
    return encode(actors::work_order{number, {{task, how}}});
  }
};

using words = std::string_view;

/// One life: it is given the job, does a shard, and dies over the next as `way` says.
void live_once(supervision::standby& source, const half_a_job& job, int way) {
  constexpr std::pair<lane_fault, words> ways[] = {
    {lane_fault::crash, "crash: SIGSEGV"},   {lane_fault::abort, "aborted: SIGABRT"},
    {lane_fault::raise, "exit_code: exit 70"}, {lane_fault::exit, "io: exit 74"},
    {lane_fault::garbage, "protocol"},       {lane_fault::hang, "stalled: enough"},
    {lane_fault::none, "killed: SIGKILL"},   {lane_fault::oom, "oom: exit 76"}};
  // Watched builds have no address space for the last one's limit of it.
  const auto all = std::size(ways) - (sanitized ? 1 : 0);
  const auto [how, end] = ways[static_cast<std::size_t>(way) % all];
  witness who{source.take()};
  REQUIRE(who.ready());
  const auto say = [&](std::uint16_t kind, std::string bytes) {
    auto frame = actors::pack(kind, std::move(bytes));
    REQUIRE(frame);
    who.whom().send(std::move(*frame));
  };
  say(actors::lane_kind::assign, job.assignment);
  say(actors::lane_kind::work, job.order(0, lane_fault::none));
  const auto done = actors::decode_receipts(who.answer());
  REQUIRE(done);
  CHECK(done->shards.at(0).receipt.problem.text == "");
  say(actors::lane_kind::work, job.order(1, how));
  if (how == lane_fault::hang)
    who.whom().kill(fault::stalled, "enough");
  if (how == lane_fault::none)
    ::kill(who.whom().pid(), SIGKILL); // at work, or behind it
  const auto reason = supervision::to_text(who.end().reason);
  INFO(reason);
  CHECK(reason.starts_with(end));
}

void die_often(int deaths) {
  const own_temporary_files temporary;
  const temporary_folder folder; // within them
  const no_words silence;
  const half_a_job job(folder.path());
  // Told nothing of the machine's memory, or what others take were the reason of these deaths.
  const auto keeper = std::make_shared<supervision::guardian>("/dev/null");
  supervision::standby source{keeper, actors::lane_process_options(VIVA_PROGRAM), true};
  // First needs of allocator and libraries.
  for (int i = 0; i < static_cast<int>(sized(40, 14)); ++i)
    live_once(source, job, i);
  const auto before = at_rest(source);
  for (int i = 0; i < deaths; ++i)
    live_once(source, job, i);
  check_nothing_left(before, at_rest(source));
}

} // namespace

TEST_CASE("lane deaths: nothing is left of lane processes that died at work") {
  die_often(static_cast<int>(sized(120, 21)));
}

TEST_CASE("lane deaths: nothing is left of 10,000 lane processes that died at work", "[.long]") {
  die_often(10'000);
}
