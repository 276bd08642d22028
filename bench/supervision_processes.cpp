// Lane processes that are killed: how soon another is ready.

#include "bench/supervision_actors.hpp"
#include "supervision/process.hpp"

#include <csignal>
#include <future>
#include <thread>

namespace viva::bench {
namespace {

using namespace supervision;

constexpr std::uint32_t before = 20; // kills that are not timed: until the nursery is up

/// Readiness of one process, as a future.
std::future<bool> readiness(process& of) {
  auto told = empty_parcel<bool>();
  auto result = told->get_future();
  auto once = std::make_shared<std::atomic<bool>>(false);
  const auto tell = [told, once](bool what) {
    if (!once->exchange(true))
      told->set_value(what);
  };
  of.attach({.on_ready = [tell] { tell(true); },
             .on_frame = {},
             .on_end = [tell](const process_end&) { tell(false); }});
  return result;
}

/// Microseconds from the kill of a ready process to its successor's readiness; empty where a
/// process did not start.
samples kill_to_ready(const process_options& how, bool spare, std::uint32_t count) {
  const auto keeper = std::make_shared<guardian>();
  standby source{keeper, how, spare};
  samples all;
  auto now = source.take();
  if (!readiness(*now).get())
    return {};
  for (std::uint32_t i = 0; i < before + count; ++i) {
    while (spare && !source.has_spare())
      std::this_thread::yield();
    auto ended = empty_parcel<bool>();
    auto end = ended->get_future();
    now->attach({.on_ready = {}, .on_frame = {}, .on_end = [ended](const process_end&) {
                   ended->set_value(true);
                 }});
    const auto began = clock::now();
    ::kill(now->pid(), SIGKILL);
    end.get();
    auto next = source.take();
    if (!readiness(*next).get())
      return {};
    if (i >= before)
      all.push_back(us_since(began));
    now = std::move(next);
  }
  return all;
}

} // namespace

void measure_processes(const supervision_bench_options& options, const metric_run& to) {
  process_options how;
  how.command = options.ward_command;
  how.ready_words = options.ward_ready_words;
  const auto count = std::max(options.samples / 50, 10u);
  const auto tell = [&](const char* metric, bool spare) {
    if (!how.command.empty() && to.wanted(metric))
      if (const auto all = kill_to_ready(how, spare, count); !all.empty())
        to.tell(latency(metric, all));
  };
  tell("process.kill_exec", false);
  how.nursery = options.ward_nursery;
  tell("process.kill", false);
  tell("process.kill_spare", true);
}

} // namespace viva::bench
