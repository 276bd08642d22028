#include "bench/team.hpp"

#include "bench/processor_time.hpp"

#include <algorithm>

namespace viva::bench {

namespace {

void pin_to(const cpu_set_t& allowed, unsigned index) {
  int cpu = -1;
  for (unsigned seen = 0; seen <= index; ++seen)
    do
      cpu = (cpu + 1) % CPU_SETSIZE;
    while (!CPU_ISSET(cpu, &allowed));
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one);
}

} // namespace

team::team(unsigned threads)
    : x_seconds(std::max(threads, 1u)), x_start(std::max(threads, 1u)),
      x_end(std::max(threads, 1u)) {
  sched_getaffinity(0, sizeof x_before, &x_before);
  for (unsigned part = 1; part < threads; ++part)
    x_others.emplace_back([this, part] {
      pin_to(x_before, part);
      for (;;) {
        x_start.arrive_and_wait();
        if (x_done)
          return;
        run_part(part);
        x_end.arrive_and_wait();
      }
    });
  pin_to(x_before, 0);
}

team::~team() {
  x_done = true;
  x_start.arrive_and_wait();
  x_others.clear();
  sched_setaffinity(0, sizeof x_before, &x_before);
}

void team::run_part(unsigned part) {
  const double begin = processor_seconds();
  x_work(part);
  x_seconds[part] = processor_seconds() - begin;
}

double team::seconds(const std::function<void(unsigned part)>& work) {
  x_work = work;
  x_start.arrive_and_wait();
  run_part(0);
  x_end.arrive_and_wait();
  return std::ranges::max(x_seconds);
}

} // namespace viva::bench
