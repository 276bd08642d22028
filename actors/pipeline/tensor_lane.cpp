#include "actors/pipeline/tensor_lane.hpp"

#include "actors/pipeline/resident.hpp"

#include <caf/all.hpp>

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

namespace viva::actors {
namespace {

/// Light units that a lane takes at a time, to ask the desk once for all of them; one where those
/// before took longer than light work does, so that no sibling is idle beside them.
constexpr std::size_t light_max = 32;
constexpr std::chrono::microseconds light_limit{5};
/// Light units that are measured together: a look at the clock costs a fifth of one.
constexpr std::uint64_t light_measured = 8;

/// What a lane has in hand.
struct lane_hand {
  handful units, next;
  std::size_t at = 0; ///< The first that it has not run.
  std::chrono::nanoseconds took{0}; ///< The last one.
  work_note done{.tickets = 0};     ///< Of those since `began`.
  std::optional<std::chrono::steady_clock::time_point> began; ///< None: nothing runs.
  std::vector<work_note> notes; ///< Of the hand: counted once the desk knows that it is done.
  lane_shelf shelf;
};

/// What was done until now. The next of this hand begins where the last ended.
void note_done(lane_hand& hand) {
  if (hand.done.tickets == 0)
    return;
  const auto now = std::chrono::steady_clock::now();
  hand.done.took = now - *hand.began;
  hand.took = hand.done.took / hand.done.tickets;
  hand.notes.push_back(hand.done);
  hand.done = {.tickets = 0};
  hand.began = now;
}

void run_metered(unit& work, const tensor_lane_place& place, lane_hand& hand) {
  if (!hand.began)
    hand.began = std::chrono::steady_clock::now();
  const auto did = work.run(lane_floor{*place.condemned, hand.shelf});
  auto& done = hand.done;
  if (did.method != done.method) // of another stream
    note_done(hand);
  done.method = did.method;
  done.shards += did.tensors;
  done.values += did.values;
  done.bytes += did.bytes;
  if (++done.tickets == light_measured)
    note_done(hand);
}

void run_next(const tensor_lane_place& place, lane_hand& hand) {
  auto& work = hand.units[hand.at++];
  if (!work->begin()) { // it has answered
    place.work->let_go(place.index, place.life, *work);
    work = nullptr;
    return;
  }
  work->begun.store(true, std::memory_order_relaxed);
  work->at_work.store(true, std::memory_order_relaxed);
  run_metered(*work, place, hand);
  work->at_work.store(false, std::memory_order_relaxed);
}

/// Gives back what it has run, and takes what is next.
void turn(const tensor_lane_place& place, lane_hand& hand) {
  note_done(hand);
  const auto now = std::exchange(hand.began, std::nullopt);
  const bool mine = place.work->turn(place.index, place.life, hand.next,
                                     hand.took < light_limit ? light_max : 1);
  if (mine)
    for (const auto& each : hand.notes)
      place.meter->add(each);
  hand.notes.clear();
  if (hand.next.empty())
    place.meter->tell(); // before anybody can know that it is done
  else if (now)
    place.meter->tell_in_time(*now);
  if (mine)
    finish_all(hand.units);
  hand.units.swap(hand.next);
  hand.next.clear();
  hand.at = 0;
}

} // namespace

caf::behavior tensor_lane(caf::event_based_actor* self, tensor_lane_place place) {
  auto hand = std::make_shared<lane_hand>();
  return {
    [self, hand, place = std::move(place)](next_unit) {
      if (hand->units.empty()) // woken
        turn(place, *hand);
      if (hand->units.empty())
        return; // a sibling was faster
      run_next(place, *hand);
      if (hand->at == hand->units.size())
        turn(place, *hand);
      if (!hand->units.empty())
        self->send(self, next_unit{});
    },
  };
}

} // namespace viva::actors
