#pragma once

// Thread lanes that stand still until a test lets them go, so that it says what waits behind them.

#include "actors/pipeline.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/temporary_folder.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace viva::testing {

/// Each lane of a pipeline opens a pipe that nobody writes into, for a shard of its own.
class held_lanes {
public:
  /// Returns once they do and nothing else waits: these shards overtake what is as urgent.
  explicit held_lanes(pipeline& pipe, urgency how_urgent = urgency::normal) {
    REQUIRE(::mkfifo(x_file.c_str(), 0600) == 0);
    x_put = pipe.put("held", {x_file, 0, pipe.lanes() * (cols / 2), cols, dtype::f32},
                     {.how_urgent = how_urgent});
    for (auto queue = pipe.metrics().queue;
         queue->running != pipe.lanes() || queue->waiting != 0; queue = pipe.metrics().queue)
      std::this_thread::yield();
  }
  ~held_lanes() {
    let_go();
  }
  held_lanes(const held_lanes&) = delete;

  bool held() const {
    return x_put.valid() && !x_put.ready();
  }
  /// On any thread.
  void let_go() {
    if (!x_put.valid())
      return;
    const int writer = ::open(x_file.c_str(), O_RDWR);
    static_cast<void>(x_put.get()); // an error: a pipe cannot be read at a place
    ::close(writer);
  }

private:
  static constexpr std::uint64_t cols = 1024; // of which half as many rows are a shard

  tests::temporary_folder x_folder;
  std::filesystem::path x_file = x_folder / "held";
  future<expected<tensor_id>> x_put;
};

} // namespace viva::testing
