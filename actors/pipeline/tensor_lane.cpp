#include "actors/pipeline/tensor_lane.hpp"

#include "actors/pipeline/resident.hpp"

#include <caf/all.hpp>

namespace viva::actors {
namespace {

void run_metered(unit& work, const tensor_lane_place& place, lane_shelf& shelf) {
  const auto began = std::chrono::steady_clock::now();
  const auto did = work.run(lane_floor{*place.condemned, shelf});
  const auto took = std::chrono::steady_clock::now() - began;
  place.meter->add({did.method, did.tensors, did.values, did.bytes, took});
  place.meter->tell_in_time(began);
}

} // namespace

caf::behavior tensor_lane(caf::event_based_actor* self, tensor_lane_place place) {
  auto held = std::make_shared<unit_ptr>(); // taken at the end of the turn before
  auto shelf = std::make_shared<lane_shelf>();
  return {
    [self, held, shelf, place = std::move(place)](next_unit) {
      auto work = *held ? std::move(*held) : place.work->turn(place.index, place.life).next;
      if (!work)
        return; // a sibling was faster
      const bool wanted = work->begin();
      if (wanted) {
        work->begun.store(true, std::memory_order_relaxed);
        run_metered(*work, place, *shelf);
        work->begun.store(false, std::memory_order_relaxed);
      }
      auto [mine, next] = place.work->turn(place.index, place.life);
      if (!next)
        place.meter->tell(); // before anybody can know that it is done
      if (wanted && mine)
        work->finish();
      *held = std::move(next);
      if (*held)
        self->send(self, next_unit{});
    },
  };
}

} // namespace viva::actors
