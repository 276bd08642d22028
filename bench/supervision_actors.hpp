#pragma once

// The actors and supervisors that the measurements of supervision share.

#include "bench/timing.hpp"
#include "supervision/spawn.hpp"
#include "supervision/supervisor.hpp"

#include <caf/all.hpp>

#include <future>
#include <memory>
#include <string>

namespace viva::bench {

struct crash_now {};
struct go {};

} // namespace viva::bench

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::bench::crash_now)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::bench::go)

namespace viva::bench {

/// What a driver brings home: its actor sets the promise, the thread that measures waits.
template <class T>
using parcel = std::shared_ptr<std::promise<T>>;

template <class T>
parcel<T> empty_parcel() {
  return std::make_shared<std::promise<T>>();
}

inline caf::behavior worker(caf::event_based_actor*) {
  return {[](crash_now) { throw std::runtime_error("on purpose"); }, [](int x) { return x + 1; }};
}

inline supervision::child_spec child_of(std::string id) {
  return {.id = std::move(id), .start = [](auto* sup) { return supervision::spawn(sup, worker); }};
}

/// Never gives up, restarts at once, keeps names and census as a real tree does.
inline supervision::supervisor_options
patient(supervision::strategy how, std::shared_ptr<supervision::reporter> reports = {}) {
  supervision::supervisor_options options;
  options.how = how;
  options.intensity = 10'000'000;
  options.period = std::chrono::hours{1};
  options.backoff.base = supervision::milliseconds{0};
  options.registry = std::make_shared<supervision::names>();
  options.people = std::make_shared<supervision::census>();
  options.reports = std::move(reports);
  return options;
}

void measure_processes(const supervision_bench_options& options, const metric_run& to);
void measure_restarts(caf::actor_system& system, const supervision_bench_options& options,
                      const metric_run& to);

} // namespace viva::bench
