// Where a stream's tensors come from: a source that is asked no more than there is room, that has
// none at the moment, that is slow, or that throws.

#include "actors/pipeline/stream_batch.hpp"
#include "tests/actors/tensors.hpp"
#include "tests/support/in_child.hpp"
#include "tests/support/sanitized.hpp"

#include <chrono>
#include <new>
#include <stdexcept>
#include <thread>

using namespace viva;
using namespace viva::testing;
using namespace std::chrono_literals;

TEST_CASE("stream: a stopped consumer stops the producer, and memory stays flat") {
  const auto tensor = normal_values(4096, 1);
  std::uint64_t pulled = 0;
  const auto endless = [&](std::span<tensor_view> out) {
    for (auto& each : out)
      each = view_of(std::span<const float>(tensor));
    pulled += out.size();
    return out.size();
  };
  constexpr std::uint64_t batch = 256, window = 8;
  const auto a_moment = [](pipeline& pipe, std::uint64_t tensors) { // until lanes have done so many
    const auto until = std::chrono::steady_clock::now() + 10s;
    auto seen = pipe.metrics();
    for (; seen.queue->running + seen.queue->waiting != 0 || seen.shards < tensors;
         seen = pipe.metrics()) {
      REQUIRE(std::chrono::steady_clock::now() < until);
      std::this_thread::yield();
    }
    return seen;
  };
  {
    pipeline pipe{{.lanes = 2}};
    auto stream
      = pipe.stream_from(endless, int8{}, {.batch_tensors = batch, .window = window});
    std::uint64_t read = 0, held = 0;
    for (int round = 0; round < 20; ++round) {
      REQUIRE(stream.step());
      ++read;
      const auto seen = a_moment(pipe, 1); // of an endless source, and yet lanes have no work
      CHECK(seen.shards <= read + window * batch);
      CHECK(pulled <= read + (window + 1) * batch);
      held = round == 0 ? seen.queue->budget_bytes : held;
      CHECK(seen.queue->budget_bytes == held);
      for (int i = 0; i < 999; ++i, ++read)
        REQUIRE(stream.step());
    }
  }
  if (tests::sanitized) // which holds memory of its own
    return;
  // A batch and its results are 2 MB of the 64; the results of all are 400.
  CHECK(tests::holds_in_child([&] {
    pipeline pipe{{.lanes = 2}};
    auto stream = pipe.stream_from(endless, int8{}, {.window = window});
    bool fine = stream.step() && tests::allow_more_memory(64 << 20);
    for (int i = 0; i < 100'000 && fine; ++i)
      fine = stream.step() && stream.item().result.has_value();
    return fine;
  }));
}

TEST_CASE("stream: a source that throws ends it with one item that says what") {
  const auto tensor = normal_values(512, 1);
  const auto kind = GENERATE(0, 1, 2);
  const bool in_order = GENERATE(true, false);
  for (const std::uint64_t before : {0u, 1u, 300u, 5000u}) {
    std::uint64_t given = 0;
    const auto source = [&](std::span<tensor_view> out) -> std::size_t {
      if (given == before) {
        if (kind == 0)
          throw std::bad_alloc();
        if (kind == 1)
          throw std::runtime_error("the shelf fell down");
        throw 7;
      }
      const auto n = std::min<std::uint64_t>(out.size(), before - given);
      for (auto& each : out.first(n))
        each = view_of(std::span<const float>(tensor));
      given += n;
      return n;
    };
    pipeline pipe{{.lanes = 2}};
    std::uint64_t good = 0, bad = 0;
    for (auto&& [index, result] : pipe.stream_from(source, int8{}, {.in_order = in_order})) {
      good += result.has_value();
      if (result)
        continue;
      ++bad;
      INFO(result.error().text);
      CHECK(index == before);
      CHECK(result.error().code == (kind == 0 ? errc::over_budget : errc::fault));
      CHECK(result.error().text.find("the source of the stream: ") != std::string::npos);
      CHECK((kind != 1 || result.error().text.ends_with("the shelf fell down")));
    }
    CHECK(good == before);
    CHECK(bad == 1);
  }
}

TEST_CASE("stream: a source that has none yet is asked again, and what it gave does not wait") {
  const auto tensor = normal_values(512, 1);
  std::uint64_t given = 0, read = 0, in_vain = 0, in_a_row = 0;
  pipeline pipe{{.lanes = 2}};
  const auto source = [&](std::span<tensor_view> out) -> std::size_t {
    if (given == 30 || in_vain == 100'000)
      return 0;
    if (read != given || in_a_row++ < 3) { // the next come only once these are read, and then late
      ++in_vain;
      return none_yet;
    }
    for (auto& each : out.first(3))
      each = view_of(std::span<const float>(tensor));
    given += 3;
    in_a_row = 0;
    return 3;
  };
  for (auto&& [index, result] : pipe.stream_from(source, int8{})) {
    CHECK(result.has_value());
    ++read;
  }
  CHECK(read == 30);
}

TEST_CASE("stream: before a slow source is asked, what it gave is done, and what is done is read") {
  const auto tensor = normal_values(5000, 1); // no light one: a lane takes them one by one
  std::uint64_t given = 0, read = 0, most_unread = 0;
  bool in_time = true;
  pipeline pipe{{.lanes = 2}};
  const auto all_done = [&] {
    const auto lanes = pipe.metrics().lanes;
    return lanes[0].shards + lanes[1].shards == given;
  };
  const auto source = [&](std::span<tensor_view> out) -> std::size_t {
    if (given >= 8) { // those before come fast, and pile up
      for (const auto limit = std::chrono::steady_clock::now() + 30s; in_time && !all_done();) {
        in_time = std::chrono::steady_clock::now() < limit;
        std::this_thread::yield();
      }
      most_unread = given < 16 ? 0 : std::max(most_unread, given - read);
    }
    if (given == 40)
      return 0;
    out[0] = view_of(std::span<const float>(tensor));
    ++given;
    return 1;
  };
  for (auto&& [index, result] : pipe.stream_from(source, int8{})) {
    CHECK(result.has_value());
    ++read;
  }
  CHECK(read == 40);
  CHECK(in_time);
  CHECK(most_unread <= 3); // of one that lanes told just now they may not have let go yet
}

namespace {

/// No block of any size is left for `malloc`, in a process that may have no more.
void take_all_memory() {
  void* volatile last = nullptr; // or a compiler leaves the calls out
  for (std::size_t bytes = 1 << 20; bytes != 0; bytes = bytes * 3 / 4)
    do
      last = std::malloc(bytes);
    while (last != nullptr);
}

} // namespace

TEST_CASE("stream: a batch whose words find no memory comes home with its code alone") {
  if (tests::sanitized) // which has memory of its own
    return;
  const auto how = kernels::parse_recipe("int8", dtype::f32).value();
  const auto hub = std::make_shared<actors::stream_hub>(no_deadline);
  hub->under_way = 2;
  hub->done.reserve(2);
  const auto cancelled = std::make_shared<actors::stream_batch>(hub, how),
             failed = std::make_shared<actors::stream_batch>(hub, how);
  const error why{errc::job_failed, std::string(4000, 'w')};
  CHECK(tests::holds_in_child([&] {
    hub->cancelled = true;
    if (!tests::allow_more_memory(0))
      return false;
    take_all_memory();
    const bool began = cancelled->begin();
    failed->fail(why, true);
    return !began && cancelled->lost.code == errc::interrupted && cancelled->lost.text.empty()
           && failed->lost.code == errc::job_failed && failed->lost.text.empty()
           && hub->done.size() == 2 && hub->under_way == 0;
  }));
}
