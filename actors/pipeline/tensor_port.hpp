#pragma once

// Tensor port: a lane of a pipeline that is a process, or one of a node. It takes units from the
// desk as a tensor_lane does, several at a time, so that one waits there while another runs. Light
// ones go there together, in one frame.
//
//   hears   await_up     answered once the process is ready and its known answer is right
//           seat_wake    there may be work for this seat
//   ends    with the process, and with the reason of its death; told to end, it lets the process
//           leave first
//   child   permanent, of the pipeline's lane supervisor

#include "actors/meter.hpp"
#include "actors/pipeline/desk.hpp"
#include "actors/pipeline/lane_peer.hpp"
#include "actors/pipeline/shared_bytes.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/stateful_actor.hpp>

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <vector>

namespace viva::actors {

/// Frames of orders in a lane process at a time: one runs, three wait. With one waiting, a quarter
/// of the time went by while the threads that pass orders on waited for a processor.
constexpr std::size_t seats_a_process = 4;

struct seat_wake {
  std::size_t seat = 0; ///< Of this lane, from 0.
};

struct tensor_port_place {
  /// At the desk: seat s of it is first_seat + s * lanes there, so that all lanes have one order
  /// before one has two.
  std::size_t first_seat = 0, lanes = 1;
  std::vector<std::uint64_t> lives;     ///< Of each seat.
  std::shared_ptr<desk> work;
  std::shared_ptr<lane_meter> meter;
  std::shared_ptr<std::atomic<bool>> condemned; ///< Set by whoever wants this life to end.
  peer_source source; ///< Where its process comes from.
  /// Called with the port once its process is ready; may be null.
  std::function<void(const caf::actor&)> on_ready;
};

struct tensor_port_state {
  struct job {
    unit_ptr work;
    std::uint64_t order = 0; ///< 0: nothing had to be done for it.
  };
  using seat = std::vector<job>; ///< In one frame.
  tensor_port_place place;
  std::unique_ptr<lane_peer> whom;
  std::vector<seat> seats;
  std::deque<std::size_t> out; ///< Seats whose orders are in the process, in their order.
  std::map<std::uint32_t, std::weak_ptr<shared_region>> known; ///< Regions its process has.
  std::uint64_t orders = 0;
  supervision::milliseconds patience{0}; ///< With the orders that are out.
  std::chrono::nanoseconds took{0};      ///< The last one.
  std::deque<caf::response_promise> await_up;
  bool ready = false;
  bool over = false; ///< Its process is as good as dead.
  caf::error leaving; ///< Why it was told to end.
  static inline const char* name = "tensor_port";
};

caf::behavior tensor_port(caf::stateful_actor<tensor_port_state>* self, tensor_port_place place);

} // namespace viva::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::seat_wake)
