#include "bench/supervision_bench.hpp"

#include "bench/supervision_actors.hpp"
#include "supervision/scheduler.hpp"

namespace viva::bench {
namespace {

using namespace supervision;

struct config : caf::actor_system_config {
  config() { // as in actors/tree.cpp
    set("scheduler.max-threads", 2);
    set("scheduler.max-throughput", 200);
    use_fair_scheduler(*this);
  }
};

// -- starts and stops ----------------------------------------------------------------------------

/// Orders one start after the other, each after the answer to the last; the seconds it took.
template <class Order>
double start_all(caf::actor_system& system, const caf::actor& top, std::uint32_t count,
                 Order order) {
  auto home = empty_parcel<double>();
  auto result = home->get_future();
  const auto began = clock::now();
  system.spawn([=](caf::event_based_actor* self) {
    auto next = std::make_shared<std::function<void(std::uint32_t)>>();
    *next = [=](std::uint32_t i) {
      if (i == count) {
        home->set_value(us_since(began) / 1e6);
        *next = nullptr; // or it would hold itself for ever
        return;
      }
      self->request(top, caf::infinite, order(i))
        .then([=](const started&) { (*next)(i + 1); }, [=](const caf::error&) { self->quit(); });
    };
    (*next)(0);
  });
  return result.get();
}

struct start_and_stop {
  samples starts_per_s, stop_us;
};

template <class Order>
start_and_stop fill_and_empty(caf::actor_system& system, const supervision_bench_options& options,
                              strategy how, std::vector<child_spec> specs, Order order) {
  start_and_stop result;
  for (std::uint32_t round = 0; round < options.rounds; ++round) {
    const auto top = *start_supervisor(system, patient(how), specs);
    const auto seconds = start_all(system, top, options.children, order);
    result.starts_per_s.push_back(options.children / seconds);
    const auto began = clock::now();
    stop_supervisor(top, std::chrono::minutes{5});
    result.stop_us.push_back(us_since(began));
  }
  return result;
}

// -- messages ------------------------------------------------------------------------------------

samples kill_to_down(caf::actor_system& system, std::uint32_t count) {
  auto home = empty_parcel<samples>();
  auto result = home->get_future();
  const auto watcher = system.spawn([=](caf::event_based_actor* self) -> caf::behavior {
    auto taken = std::make_shared<samples>();
    auto began = std::make_shared<clock::time_point>();
    const auto next = [=] {
      const auto who = spawn(self, worker);
      self->monitor<caf::message_priority::high>(who);
      *began = clock::now();
      urge_exit(who, self->address(), caf::exit_reason::kill, self->context());
    };
    self->set_down_handler([=](caf::down_msg&) {
      taken->push_back(us_since(*began));
      if (taken->size() < count)
        return next();
      home->set_value(std::move(*taken));
      self->quit();
    });
    return {[=](go) { next(); }};
  });
  caf::anon_send(watcher, go{});
  return result.get();
}

samples calls(caf::actor_system& system, std::uint32_t count) {
  auto home = empty_parcel<samples>();
  auto result = home->get_future();
  const auto server = system.spawn([](caf::event_based_actor* self) {
    prepare(self);
    return worker(self);
  });
  system.spawn([=](caf::event_based_actor* self) {
    auto taken = std::make_shared<samples>();
    auto next = std::make_shared<std::function<void()>>();
    *next = [=] {
      const auto began = clock::now();
      self->request(server, caf::infinite, 1).then([=](int) {
        taken->push_back(us_since(began));
        if (taken->size() < count)
          return (*next)();
        home->set_value(std::move(*taken));
        *next = nullptr;
      });
    };
    (*next)();
  });
  return result.get();
}

/// Messages per second from `senders` to one receiver that counts them.
double flood(caf::actor_system& system, std::uint32_t senders, std::uint32_t messages) {
  constexpr std::uint32_t turn = 1000; // then another actor's turn, as a reduction count gives
  auto home = empty_parcel<double>();
  auto result = home->get_future();
  const auto each = messages / senders;
  const auto began = clock::now();
  const auto receiver = system.spawn([=](caf::event_based_actor* self) -> caf::behavior {
    auto seen = std::make_shared<std::uint32_t>(0);
    return {[=](int) {
      if (++*seen < each * senders)
        return;
      home->set_value(*seen / (us_since(began) / 1e6));
      self->quit();
    }};
  });
  for (std::uint32_t s = 0; s < senders; ++s) {
    const auto sender = system.spawn([=](caf::event_based_actor* self) -> caf::behavior {
      auto left = std::make_shared<std::uint32_t>(each);
      return {[=](go) {
        for (std::uint32_t i = 0; i < turn && *left > 0; ++i, --*left)
          self->send(receiver, static_cast<int>(i));
        if (*left > 0)
          self->send(self, go{});
      }};
    });
    caf::anon_send(sender, go{});
  }
  return result.get();
}

void measure_children(caf::actor_system& system, const supervision_bench_options& options,
                      const metric_run& to) {
  const auto count = std::to_string(options.children);
  const auto tell = [&](const char* start, const std::string& stop, const start_and_stop& result) {
    to.tell(rate(start, result.starts_per_s));
    to.tell(latency(stop, result.stop_us));
  };
  if (const auto stop = "stop.instances_" + count; to.wanted("start_instance") || to.wanted(stop))
    tell("start_instance", stop,
         fill_and_empty(system, options, strategy::simple_one_for_one, {child_of("i")},
                        [](std::uint32_t) { return start_instance{}; }));
  if (const auto stop = "stop.children_" + count; to.wanted("start_child") || to.wanted(stop))
    tell("start_child", stop,
         fill_and_empty(system, options, strategy::one_for_one, {}, [](std::uint32_t i) {
           return start_child{child_of(std::to_string(i))};
         }));
}

void measure_messages(caf::actor_system& system, const supervision_bench_options& options,
                      const metric_run& to) {
  if (to.wanted("monitor.kill"))
    to.tell(latency("monitor.kill", kill_to_down(system, options.samples)));
  for (const std::uint32_t senders : {1u, 4u}) {
    const auto metric = "messages." + std::to_string(senders) + "_1";
    if (!to.wanted(metric))
      continue;
    samples per_s;
    for (std::uint32_t round = 0; round < options.rounds; ++round)
      per_s.push_back(flood(system, senders, options.messages));
    to.tell(rate(metric, per_s));
  }
  if (to.wanted("call"))
    to.tell(latency("call", calls(system, options.samples)));
}

} // namespace

void measure_supervision(const supervision_bench_options& options,
                         const std::function<void(const measurement&)>& tell) {
  config settings;
  caf::actor_system system{settings};
  const metric_run to{[&](std::string_view metric) { return metric.starts_with(options.only); },
                      tell};
  measure_restarts(system, options, to);
  measure_processes(options, to);
  measure_children(system, options, to);
  measure_messages(system, options, to);
}

} // namespace viva::bench
