#include "bench/message_rate.hpp"

#include "bench/supervision_actors.hpp"
#include "supervision/scheduler.hpp"

#include <vector>

namespace viva::bench {

double messages_to_self_per_s(unsigned actors, std::uint64_t messages) {
  caf::actor_system_config config;
  config.set("scheduler.max-threads", 2);
  supervision::use_fair_scheduler(config);
  caf::actor_system system{config};
  const auto each = messages / actors;
  std::vector<caf::actor> all;
  std::vector<std::future<void>> ends;
  for (unsigned i = 0; i < actors; ++i) {
    auto home = empty_parcel<void>();
    ends.push_back(home->get_future());
    all.push_back(system.spawn<caf::detached>([=](caf::event_based_actor* self) -> caf::behavior {
      auto left = std::make_shared<std::uint64_t>(each);
      return {[=](go) {
        if (--*left > 0)
          return self->send(self, go{});
        home->set_value();
        self->quit();
      }};
    }));
  }
  const auto began = clock::now();
  for (const auto& each_actor : all)
    caf::anon_send(each_actor, go{});
  for (auto& end : ends)
    end.wait();
  return static_cast<double>(each * actors) / (us_since(began) / 1e6);
}

} // namespace viva::bench
