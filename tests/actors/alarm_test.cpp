#include "actors/pipeline/alarm.hpp"

#include "tests/support/catch.hpp"

#include <future>

using namespace viva;
using namespace std::chrono_literals;

namespace {

struct note {
  std::promise<void>& to;
  ~note() {
    to.set_value();
  }
};

} // namespace

TEST_CASE("alarm: its last owner may go with a call of its own, and takes what is due with it") {
  std::promise<void> go, gone, dropped;
  auto owner = std::make_shared<actors::alarm>();
  auto* const clock = owner.get();
  const auto soon = std::chrono::steady_clock::now() + 20ms;
  const auto due = clock->at(soon, [&go, &gone, mine = std::move(owner)]() mutable {
    go.get_future().wait(); // what calls it has returned
    mine.reset();
    gone.set_value();
  });
  const auto never = clock->at(soon + 1h, [held = std::shared_ptr<note>(new note{dropped})] {});
  go.set_value();
  CHECK(gone.get_future().wait_for(10s) == std::future_status::ready);
  CHECK(dropped.get_future().wait_for(10s) == std::future_status::ready);
}
