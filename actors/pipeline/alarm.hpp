#pragma once

// Alarm: calls what is due. For deadlines of work that nobody waits for, as a coroutine that is
// suspended, and for what may wait for a disk. One thread, which starts with the first call.

#include "actors/pipeline/outcome.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <thread>

namespace viva::actors {

class alarm {
public:
  alarm();
  alarm(const alarm&) = delete;
  /// Waits for a call that runs, unless it is that call whose end takes the last owner of this.
  ~alarm();

  /// `call` runs at `when`, on the alarm's thread, unless the handle is gone by then.
  std::shared_ptr<void> at(deadline when, std::function<void()> call);
  /// `call` runs on the alarm's thread, behind those before it. Nobody takes it back.
  void soon(std::function<void()> call);

private:
  /// What the thread works on; it may outlive the alarm by the end of one call.
  struct book;
  void begin();
  const std::shared_ptr<book> x_book;
  std::mutex x_guard; // of the thread
  std::jthread x_thread;
};

} // namespace viva::actors
