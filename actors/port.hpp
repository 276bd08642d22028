#pragma once

// Port: a lane that is a process, seen from the conductor exactly as a lane that is a thread.
//
//   hears   await_up      answered once the process is ready and its known answer is right
//           batch         -> batch_receipt to the conductor named in it
//           site_gone     its process lets the job's files go, once it has nothing of it in hand
//   ends    with the process, and with the reason of its death (supervision/death.hpp); what it was
//           executing is in the batch's mark by then. Told to end, it lets the process leave first
//   child   permanent, of the lane supervisor

#include "actors/device_health.hpp"
#include "actors/lane_frames.hpp"
#include "actors/messages.hpp"
#include "actors/meter.hpp"
#include "supervision/process.hpp"

#include <caf/stateful_actor.hpp>

#include <chrono>
#include <deque>
#include <memory>
#include <string>

namespace viva::actors {

struct port_options {
  std::string id;
  std::shared_ptr<supervision::standby> source; ///< Where its process comes from.
  std::shared_ptr<lane_meter> meter;
  std::chrono::seconds stall{30}; ///< Without progress; five times a slow shard's time, if longer.
  std::shared_ptr<device_health> device{}; ///< Of a lane that has one: told how it goes.
};

struct port_state {
  port_options options;
  std::unique_ptr<supervision::process> whom;
  std::deque<caf::response_promise> await_up;
  bool ready = false;
  bool over = false; ///< Its process is as good as dead: what comes of it is not heard.
  std::deque<batch> out;
  std::weak_ptr<const job_site> assigned; ///< The job that its process knows.
  bool gone = false; ///< That one is over, wherever it came from.
  caf::error leaving; ///< Why it was told to end.
  static inline const char* name = "port";
};

caf::behavior port(caf::stateful_actor<port_state>* self, port_options options);

/// How long a lane may have work of which the largest shard reads so many bytes without a sign of
/// progress: `stall`, or five times what a slow machine takes.
std::chrono::milliseconds stall_limit(std::chrono::milliseconds stall,
                                      std::uint64_t largest_source_bytes);

/// Of these limits, or this program itself.
std::filesystem::path lane_program_of(const job_limits& limits);
/// How a lane process is started: `program lane`, ready with the known answer.
supervision::process_options lane_process_options(const std::filesystem::path& program);
/// The same with a device: `program lane cuda NUMBER`. It takes longer to be ready.
supervision::process_options device_process_options(const std::filesystem::path& program,
                                                    int number);

} // namespace viva::actors
