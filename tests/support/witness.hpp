#pragma once

// Witness: hears all that becomes of one process.

#include "supervision/process.hpp"
#include "tests/support/catch.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

namespace viva::supervision::testing {

/// Waits have a limit that only a defect reaches.
class witness {
public:
  explicit witness(std::unique_ptr<process> whom) : x_whom(std::move(whom)) {
    x_whom->attach({.on_ready = [this] { note([&] { x_ready = true; }); },
                    .on_frame = [this](frame&& what) {
                      note([&] { x_frames.push_back(std::move(what)); });
                    },
                    .on_end = [this](const process_end& how) { note([&] { x_end = how; }); }});
  }

  process& whom() {
    return *x_whom;
  }
  void order(const std::string& words) {
    x_whom->send({frame_kind::first_free, words, {}});
  }
  bool ready() {
    return wait([&] { return x_ready || x_end; }) && x_ready;
  }
  std::string answer() {
    REQUIRE(wait([&] { return !x_frames.empty() || x_end; }));
    std::lock_guard lock{x_guard};
    if (x_frames.empty())
      return "ended: " + to_text(x_end->reason);
    auto text = x_frames.front().payload;
    x_frames.pop_front();
    return text;
  }
  process_end end() {
    REQUIRE(wait([&] { return x_end.has_value(); }));
    std::lock_guard lock{x_guard};
    return *x_end;
  }

private:
  template <class Change>
  void note(Change change) {
    const std::lock_guard lock{x_guard};
    change();
    x_wake.notify_all();
  }
  template <class Claim>
  bool wait(Claim claim) {
    std::unique_lock lock{x_guard};
    return x_wake.wait_for(lock, std::chrono::seconds{60}, claim);
  }

  std::mutex x_guard;
  std::condition_variable x_wake;
  bool x_ready = false;
  std::deque<frame> x_frames;
  std::optional<process_end> x_end;
  std::unique_ptr<process> x_whom;
};

} // namespace viva::supervision::testing
