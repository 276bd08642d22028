// What waits for a pipeline, outside its budget or in line for its lanes, until its turn, its
// deadline, or its end.

#include "tests/actors/held_lanes.hpp"
#include "tests/actors/tensors.hpp"

#include <atomic>
#include <coroutine>
#include <exception>
#include <future>
#include <string>
#include <thread>

using namespace viva;
using namespace viva::testing;
using namespace std::chrono_literals;

namespace {

/// A coroutine that nobody waits for; it tells by what it was given.
struct errand {
  struct promise_type {
    errand get_return_object() {
      return {};
    }
    std::suspend_never initial_suspend() noexcept {
      return {};
    }
    std::suspend_never final_suspend() noexcept {
      return {};
    }
    void return_void() {
    }
    void unhandled_exception() {
      std::terminate();
    }
  };
};

errand produce(pipeline& pipe, const tensor_values& values, std::atomic<int>& good,
               std::atomic<int>& left, std::promise<void>& all) {
  submit_options options;
  options.when_full = on_full::suspend;
  for (int i = 0; i < 20; ++i) {
    // In two steps: GCC 12 destroys aggregates within a co_await expression twice.
    auto coming = pipe.quantize(view_of(std::span<const float>(values)), int8{}, options);
    auto got = co_await coming;
    good += got.has_value() ? 1 : 0;
  }
  if (--left == 0)
    all.set_value();
}

errand wait_for_one(pipeline& pipe, tensor_view view, submit_options options,
                    std::promise<errc>& told) {
  auto coming = pipe.quantize(view, int8{}, std::move(options));
  auto got = co_await coming;
  told.set_value(got ? errc::ok : got.error().code);
}

/// Which answers came, in their order; for one lane, which tells them one by one.
struct answers {
  std::vector<std::string> order{};
  std::promise<void> all{};
  std::size_t missing = 0;
};

errand note_answer(pipeline& pipe, tensor_view view, std::string name, urgency how_urgent,
                   answers& to) {
  auto coming = pipe.quantize(view, nf4{}, {.how_urgent = how_urgent});
  const auto got = co_await coming;
  to.order.push_back(got ? name : name + " failed");
  if (--to.missing == 0)
    to.all.set_value();
}

} // namespace

TEST_CASE("pipeline: a budget that is full refuses, blocks until its deadline, or lets wait") {
  const auto values = normal_values(1 << 16, 7);
  const auto view = view_of(std::span<const float>(values));
  pipeline pipe{{.lanes = 1, .budget_bytes = 100'000}}; // room for one result of 65,536
  auto first = pipe.quantize(view, int8{});
  while (!first.ready())
    first.wait_for(1ms);
  CHECK(pipe.metrics().queue->budget_tickets == 1); // done and not taken: it counts
  CHECK(pipe.quantize(view, int8{}, {.when_full = on_full::refuse}).get().error().code
        == errc::over_budget);
  const auto soon = std::chrono::steady_clock::now() + 5ms;
  CHECK(pipe.quantize(view, int8{}, {.until = soon}).get().error().code == errc::timed_out);
  auto parked = pipe.quantize(view, int8{}, {.when_full = on_full::suspend});
  CHECK(pipe.metrics().queue->submits_waiting == 1);
  CHECK_FALSE(parked.ready());
  auto other = std::async(std::launch::async,
                          [&] { return pipe.quantize(view, int8{}).get().has_value(); });
  CHECK(first.get().has_value());
  CHECK(parked.get().has_value());
  CHECK(other.get());
  CHECK(pipe.metrics().queue->budget_bytes == 0);
  const auto more = normal_values(1 << 17, 7);
  const auto never = pipe.quantize(view_of(std::span<const float>(more)), int8{}).get();
  CHECK(never.error().code == errc::over_budget);
}

TEST_CASE("pipeline: coroutines that produce are suspended while the budget is full") {
  const auto values = normal_values(4096, 1);
  std::atomic<int> good{0}, left{8};
  std::promise<void> all;
  pipeline pipe{{.lanes = 2, .budget_tickets = 2}};
  for (int i = 0; i < 8; ++i)
    produce(pipe, values, good, left, all);
  all.get_future().wait();
  CHECK(good == 160);
}

TEST_CASE("pipeline: a coroutine is told when the deadline of its work passed, parked or in line") {
  const auto values = normal_values(1 << 16, 7);
  pipeline pipe{{.lanes = 1, .budget_bytes = 100'000}}; // room for one result of 65,536
  const auto view = view_of(std::span<const float>(values));
  auto first = pipe.quantize(view, int8{});
  while (!first.ready())
    first.wait_for(1ms);
  std::promise<errc> told;
  const auto until = std::chrono::steady_clock::now() + 20ms;
  wait_for_one(pipe, view, {.until = until, .when_full = on_full::suspend}, told);
  auto answer = told.get_future();
  REQUIRE(answer.wait_for(10s) == std::future_status::ready); // the first is never taken
  CHECK(answer.get() == errc::timed_out);
  CHECK(std::chrono::steady_clock::now() >= until);
  CHECK(pipe.metrics().queue->submits_waiting == 0);
  CHECK(first.get().has_value());
  std::promise<errc> in_time;
  wait_for_one(pipe, view, {.until = std::chrono::steady_clock::now() + 10s}, in_time);
  CHECK(in_time.get_future().get() == errc::ok);
}

TEST_CASE("pipeline: a future cancels its work, and waits for it when it goes") {
  pipeline pipe{{.lanes = 1}};
  const auto view = matrix_of(large_values(), 8192);
  {
    held_lanes lane(pipe);
    auto other = pipe.quantize(view, nf4{});
    auto waiting = pipe.quantize(view, nf4{});
    CHECK_FALSE(waiting.ready());
    waiting.cancel();
    const auto cancelled = waiting.get();
    REQUIRE_FALSE(cancelled.has_value());
    CHECK(cancelled.error().code == errc::interrupted);
    CHECK(lane.held());
    lane.let_go();
    CHECK(other.get().has_value());
  }
  for (int round = 0; round < 10; ++round) {
    auto values = std::make_unique<tensor_values>(normal_values(1 << 18, 8));
    {
      auto left = pipe.quantize(matrix_of(*values, 1 << 14), nf4{});
    }
    values.reset(); // a lane that still reads is caught by the sanitizer
  }
  // The last unit of the last one may be on its way from the lane.
  const auto until = std::chrono::steady_clock::now() + 10s;
  while (pipe.metrics().queue->budget_tickets != 0 && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  CHECK(pipe.metrics().queue->budget_tickets == 0);
}

TEST_CASE("pipeline: work past its deadline answers so, even while every lane is busy") {
  pipeline pipe{{.lanes = 1}};
  const auto view = matrix_of(large_values(), 8192);
  std::vector<future<expected<encoded>>> busy;
  for (int i = 0; i < 4; ++i)
    busy.push_back(pipe.quantize(view, nf4{}));
  auto late = pipe.quantize(view, nf4{}, {.until = std::chrono::steady_clock::now() + 1ms});
  CHECK(late.get().error().code == errc::timed_out);
  for (auto& each : busy)
    CHECK(each.get().has_value());
}

TEST_CASE("pipeline: what is urgent overtakes what waits") {
  pipeline pipe{{.lanes = 1}};
  const auto view = matrix_of(large_values(), 8192);
  answers told{.missing = 3};
  held_lanes lane(pipe);
  note_answer(pipe, view, "first", urgency::normal, told);
  note_answer(pipe, view, "patient", urgency::low, told);
  note_answer(pipe, view, "urgent", urgency::high, told);
  lane.let_go();
  told.all.get_future().wait();
  CHECK(told.order == std::vector<std::string>{"urgent", "first", "patient"});
}

TEST_CASE("pipeline: one that goes answers all that was asked of it, before what runs is done") {
  const auto view = matrix_of(large_values(), 8192);
  std::vector<future<expected<encoded>>> asked;
  auto pipe = std::make_unique<pipeline>(pipeline_options{.lanes = 2});
  held_lanes lanes(*pipe);
  for (int i = 0; i < 8; ++i)
    asked.push_back(pipe->quantize(view, nf4{}));
  struct found {
    std::size_t interrupted = 0;
    bool held = false;
  };
  auto told = std::async(std::launch::async, [&] {
    found result;
    for (auto& each : asked) {
      const auto got = each.get();
      result.interrupted += !got && got.error().code == errc::interrupted;
    }
    result.held = lanes.held();
    lanes.let_go();
    return result;
  });
  pipe.reset();
  const auto result = told.get();
  CHECK(result.interrupted == asked.size());
  CHECK(result.held);
}

TEST_CASE("pipeline: one may go on another thread than the one that it came on") {
  const auto tensors = many_tensors(10, 64);
  auto pipe = std::make_unique<pipeline>(pipeline_options{.lanes = 1});
  for (auto&& [index, result] : pipe->stream(tensors, int8{}))
    CHECK(result.has_value());
  pipe->kill_collector();
  CHECK(pipe->quantize(view_of(std::span<const float>(tensors[0])), nf4{}).get().has_value());
  CHECK(pipe->metrics().shards > 0);
  auto gone = std::async(std::launch::async, [&] { pipe.reset(); });
  gone.get();
  CHECK(pipe == nullptr);
}

TEST_CASE("pipeline: one that goes while its lanes are at work leaves no answer out") {
  const auto view = matrix_of(large_values(), 8192);
  std::vector<future<expected<encoded>>> asked;
  {
    pipeline pipe{{.lanes = 2}};
    for (int i = 0; i < 8; ++i)
      asked.push_back(pipe.quantize(view, nf4{}));
  }
  for (auto& each : asked)
    if (const auto got = each.get(); !got)
      CHECK(got.error().code == errc::interrupted);
}
