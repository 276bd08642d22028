#pragma once

// Alarm: calls what is due. For deadlines of work that nobody waits for, as a coroutine that is
// suspended. One thread, which starts with the first call.

#include "actors/pipeline/outcome.hpp"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace viva::actors {

class alarm : public std::enable_shared_from_this<alarm> {
public:
  alarm() = default;
  alarm(const alarm&) = delete;
  ~alarm(); ///< Not from within a call.

  /// `call` runs at `when`, on the alarm's thread, unless the handle is gone by then.
  std::shared_ptr<void> at(deadline when, std::function<void()> call);

private:
  using key = std::pair<deadline, std::uint64_t>;
  void run(const std::stop_token&);
  void forget(const key&);

  std::mutex x_guard;
  std::condition_variable_any x_come;
  std::map<key, std::function<void()>> x_calls; // the earliest first
  std::uint64_t x_last = 0;
  std::jthread x_thread;
};

} // namespace viva::actors
