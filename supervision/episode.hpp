#pragma once

// What the supervisor's shell keeps: a child, its one deadline, the episode in work, what waits
// behind it, and who listens. Private to this folder.

#include "supervision/orders.hpp"

#include <caf/response_promise.hpp>

#include <map>
#include <memory>
#include <vector>

namespace viva::supervision {

using serial = std::uint64_t; // children in start order; never used twice

enum class alarm : std::uint8_t { kill, abandon, start_timeout, retry, kill_wave };

struct deadline {
  serial whose = 0;
  alarm what = alarm::kill;
};
using deadlines = std::multimap<time_point, deadline>;

struct child {
  std::shared_ptr<child_spec> spec; // one for all instances under simple_one_for_one
  caf::message args;
  caf::actor who;                  // strong while it lives, null from its down message on
  census_entry* entry = nullptr;   // state, restarts, since, last reason
  std::uint64_t generation = 0;    // one more per start; late answers carry an older one
  backoff pace{};
  caf::error start_error{};        // why its start failed, until its end is seen
  caf::message info{};             // of its start, for whoever ordered it
  deadlines::iterator due{};       // valid if `timed`
  time_point up_since{};           // taken by the next restart's backoff
  std::uint64_t last_pid = 0;      // for reports about the dead
  bool timed = false;
  bool born = false;               // was up at least once
  bool announced = false;          // subscribers know it as up
  bool wanted = true;              // false: ended as allowed, or stopped by hand
  bool dead = false;               // ended by itself; the decision waits for the episode
  bool owed = false;               // down for a group restart that has not come to it yet

  life state() const noexcept {
    return entry->state;
  }
};

struct episode {
  enum class kind : std::uint8_t { none, boot, restart, start_one, stop_one, ending };
  kind what = kind::none;
  std::vector<serial> stops;  // in the order of stopping
  std::vector<serial> starts; // in the order of starting
  std::size_t stopped = 0;
  std::size_t begun = 0;
  serial culprit = 0;         // restart: whose end it was
  milliseconds delay{0};      // restart: between stopping and starting
  bool at_once = false;       // all stops in one wave
  bool wave_sent = false;
  std::uint32_t retries = 0;  // boot, start_one: of starts that failed
  bool keep_on_failure = false; // start_one: restart_child leaves the spec, start_child does not
  caf::response_promise answer{};

  bool starts_first() const noexcept {
    return what == kind::boot || what == kind::start_one;
  }
  /// Whether it waits for the next attempt of that child, whose first start failed.
  bool awaits(serial id) const noexcept {
    return starts_first() && begun < starts.size() && starts[begun] == id;
  }
};

/// What is done once no episode is in work.
struct waiting {
  std::function<void()> run;
  caf::response_promise answer; // told no_process if the supervisor ends first
};

struct listener {
  caf::actor_addr who; // weak: a subscriber lives as long as it likes
  std::function<void(const child_up&)> on_up;
  std::function<void(const child_down&)> on_down;
};

struct retry_now {
  serial whose = 0;
  std::uint64_t generation = 0;
};
struct boot_now {};

} // namespace viva::supervision
