#include "actors/pipeline/outcome.hpp"
#include "tests/support/catch.hpp"

#include <memory>
#include <new>

using namespace viva;
using namespace std::chrono_literals;

namespace {

/// An answer whose work, told that nobody wants it, answers why.
std::shared_ptr<outcome<errc>> due(deadline until) {
  auto made = std::make_shared<outcome<errc>>();
  made->on_withdraw(
    [to = std::weak_ptr(made)](errc why) {
      if (const auto still = to.lock())
        still->set(why);
    },
    until, {});
  return made;
}

} // namespace

TEST_CASE("outcome: who asks and never waits learns that the deadline passed") {
  const auto now = std::chrono::steady_clock::now();
  CHECK_FALSE(due(no_deadline)->ready());
  CHECK_FALSE(due(now + 1h)->ready());
  const auto late = due(now - 1ms);
  CHECK(late->ready());
  CHECK(late->take() == errc::timed_out);
}

TEST_CASE("outcome: without memory to watch a deadline the answer is told all the same, once") {
  outcome<int> answer;
  answer.on_withdraw([](errc) {}, std::chrono::steady_clock::now() + 1h,
                     [](deadline, const std::function<void()>&) -> std::shared_ptr<void> {
                       throw std::bad_alloc();
                     });
  int told = 0;
  CHECK_NOTHROW(answer.then([&] { ++told; }));
  CHECK(told == 0);
  answer.set(7);
  CHECK(told == 1);
  CHECK(answer.take() == 7);
}
