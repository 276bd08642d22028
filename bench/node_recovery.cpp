#include "bench/node_recovery.hpp"

#include "actors/job.hpp"
#include "actors/node/look.hpp"
#include "bench/node_child.hpp"
#include "bench/samples.hpp"
#include "bench/scratch_folder.hpp"
#include "formats/synth.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <functional>
#include <future>
#include <vector>

#include <poll.h>

namespace viva::bench {
namespace {

namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

constexpr std::uint64_t source_bytes = 8 << 20, shard_bytes = 256 << 10;
constexpr std::chrono::milliseconds settled_after{300};
constexpr std::chrono::seconds patience{60};

double ms_since(clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(clock::now() - begin).count();
}

job_limits of_node(const std::string& address) {
  job_limits limits;
  limits.nodes = {address};
  return limits;
}

/// Looks at a node until `on` says no. A look without an answer in its time is no end: others may
/// have the processor.
expected<void> watch(const std::string& address, const std::function<bool(const node_view&)>& on) {
  for (const auto began = clock::now();; ::poll(nullptr, 0, 20))
    if (auto seen = watch_node(of_node(address), on);
        seen || seen.error().code != errc::fault || clock::now() - began > patience)
      return seen;
}

/// Waits until a node has done some of a job and does no more; gives how many shards it did.
expected<std::uint64_t> settle(const std::string& address) {
  const auto began = clock::now();
  auto moved = began;
  node_view last;
  auto done = watch(address, [&](const node_view& now) {
    if (now.jobs == 0 || now.shards == 0 || now.shards != last.shards)
      moved = clock::now();
    last = now;
    ::poll(nullptr, 0, 5);
    return clock::now() - moved < settled_after && clock::now() - began < patience;
  });
  if (done && clock::now() - moved < settled_after)
    done = fail(errc::timed_out, "bench nodes: a node did nothing of a job, or came to no end");
  return done.map([&] { return last.shards; });
}

struct sample {
  double again_ms = 0, named_ms = 0;
};

/// The job of one round.
class round {
public:
  round(const fs::path& root, int signal) : x_root(root), x_signal(signal) {
  }

  expected<sample> run() {
    const std::vector<std::string> patient{"--allow-faults", "--stall-seconds", "600"};
    auto first = node_child::start(x_root, patient), second = node_child::start(x_root, patient);
    if (!first || !second)
      return tl::unexpected(first ? second.error() : first.error());
    const auto address = (*second)->address();
    (*second)->end(SIGTERM); // it comes once the other has the shard that stands still
    auto job = begin((*first)->address(), address);
    auto seen = settle((*first)->address()).and_then([&](std::uint64_t) {
      second = node_child::start(x_root, patient, address);
      return second ? settle(address) : expected<std::uint64_t>(tl::unexpected(second.error()));
    });
    const auto began = clock::now();
    (*first)->signal(x_signal);
    sample took;
    auto told = seen.and_then([&](std::uint64_t before) {
      return watch(address, [&](const node_view& now) {
        took.again_ms = ms_since(began);
        return now.shards <= before && clock::now() - began < patience;
      });
    });
    if (told && clock::now() - began >= patience)
      told = fail(errc::timed_out, "bench nodes: what a lost node had was done by nobody");
    (*first)->end(SIGKILL);
    return finish(std::move(job), told, began, took);
  }

private:
  std::future<expected<job_report>> begin(const std::string& first, const std::string& second) {
    quantize_spec spec;
    spec.source = x_root / "source";
    spec.output = x_root / "out";
    spec.method = "nf4";
    spec.overwrite = true;
    spec.limits.lanes = 0;
    spec.limits.shard_bytes_max = shard_bytes;
    spec.limits.shared_fs = true;
    spec.limits.nodes = {first, second};
    spec.faults.hang_at = 8; // the first has told of some by then
    return std::async(std::launch::async, [spec, this] {
      job_observer observer;
      observer.interrupted = &x_stops;
      return run_quantize(spec, observer);
    });
  }
  expected<sample> finish(std::future<expected<job_report>> job, const expected<void>& told,
                          clock::time_point began, sample took) {
    x_stops = !told;
    const auto done = job.get();
    if (!told)
      return tl::unexpected(told.error());
    if (!done)
      return tl::unexpected(done.error());
    took.named_ms = ms_since(began);
    return took;
  }

  const fs::path& x_root;
  const int x_signal;
  std::atomic<bool> x_stops{false};
};

} // namespace

expected<void> measure_node_recovery(const node_recovery_options& options,
                                     const std::function<void(const node_recovery_line&)>& tell) {
  const auto room = scratch_folder::make();
  if (!room)
    return tl::unexpected(room.error());
  formats::synth_options source;
  source.output = room->path() / "source";
  source.bytes = source_bytes;
  if (auto made = formats::synthesize(source, {}); !made)
    return made;
  struct kind { const char* metric; int signal; double limit_ms; };
  for (const auto& each : {kind{"recovery_killed", SIGKILL, 200},
                           {"recovery_silent", SIGSTOP, 3600}}) {
    std::vector<double> again, named;
    for (std::uint32_t i = 0; i < options.rounds; ++i) {
      const auto took = round(room->path(), each.signal).run();
      if (!took)
        return tl::unexpected(took.error());
      again.push_back(took->again_ms);
      named.push_back(took->named_ms);
    }
    tell({each.metric, median(again), std::ranges::max(again), median(named), each.limit_ms});
  }
  return {};
}

} // namespace viva::bench
