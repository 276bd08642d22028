// What ports and lane processes say: whole or refused, never believed.

#include "actors/lane_frames.hpp"
#include "tests/support/catch.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <random>

using namespace viva;
using namespace viva::actors;

namespace {

work_order an_order() {
  work_order order{7, {}};
  for (std::uint32_t i = 0; i < 3; ++i) {
    lane_task each;
    each.task.id = {i, i + 1};
    each.task.numbers.values = {0.5f, -3.0f};
    if (i == 1)
      each.task.by.columns = std::make_shared<std::vector<float>>(std::vector{1.0f, 2.0f});
    if (i == 2)
      each.task.by.rows = std::make_shared<std::vector<float>>();
    each.fault = i == 2 ? lane_fault::no_memory : lane_fault::none;
    each.task.device = i != 1;
    order.tasks.push_back(each);
  }
  return order;
}

work_receipts some_receipts() {
  work_receipts all{9, 5 << 20, {}};
  for (std::uint32_t i = 0; i < 3; ++i)
    all.shards.push_back({{{i, 1}, 77 + i, std::string(i, '\0') + "found", {}},
                          std::chrono::nanoseconds{5 + i}});
  all.shards.back().receipt.problem = {errc::not_finite, "NaN at [3, 17]"};
  return all;
}

} // namespace

TEST_CASE("lane frames: orders and receipts come back as they were") {
  const auto order = decode_order(encode(an_order()));
  REQUIRE(order);
  CHECK(order->number == 7);
  REQUIRE(order->tasks.size() == 3);
  CHECK(order->tasks[2].task.id == ticket{2, 3});
  CHECK(order->tasks[0].task.numbers.values[1] == -3.0f);
  CHECK_FALSE(order->tasks[0].task.by.columns);
  CHECK(*order->tasks[1].task.by.columns == std::vector{1.0f, 2.0f});
  CHECK(order->tasks[2].task.by.rows->empty());
  CHECK(order->tasks[2].fault == lane_fault::no_memory);
  CHECK(order->tasks[0].task.device);
  CHECK_FALSE(order->tasks[1].task.device);
  const auto all = decode_receipts(encode(some_receipts()));
  REQUIRE(all);
  REQUIRE(all->shards.size() == 3);
  CHECK(all->shards[2].receipt.findings == std::string(2, '\0') + "found");
  CHECK(all->shards[2].receipt.problem.text == "NaN at [3, 17]");
  CHECK(all->shards[1].receipt.checksum == 78);
  CHECK(all->shards[1].took.count() == 6);
}

TEST_CASE("lane frames: a part of one is none, and no bytes are an accident") {
  for (const auto& bytes : {encode(an_order()), encode(some_receipts())}) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const auto part = std::string_view(bytes).substr(0, i);
      CHECK_FALSE(decode_order(part));
      CHECK_FALSE(decode_receipts(part));
    }
    CHECK_FALSE(decode_order(bytes + "x"));
    CHECK_FALSE(decode_receipts(bytes + "x"));
    std::mt19937 random{5};
    for (int i = 0; i < 20'000; ++i) {
      auto changed = bytes;
      for (auto flips = 1 + random() % 4; flips > 0; --flips)
        changed[random() % changed.size()] = static_cast<char>(random());
      if (const auto order = decode_order(changed))
        CHECK(order->tasks.size() <= bytes.size());
      if (const auto all = decode_receipts(changed))
        CHECK(all->shards.size() <= bytes.size());
    }
  }
}

TEST_CASE("lane frames: what is too long goes along as a file that cannot be changed") {
  const std::string text(1'000'000, 'x');
  const auto packed = pack(lane_kind::work, text);
  REQUIRE(packed);
  CHECK(packed->payload.empty());
  REQUIRE(packed->attached);
  CHECK(::write(packed->attached->get(), "y", 1) < 0);
  const auto whole = unpack(*packed);
  REQUIRE(whole);
  CHECK(*whole == text);
  CHECK(*unpack(*pack(lane_kind::work, "short")) == "short");
  for (const char* file : {"/dev/zero", "/dev/null", "/proc/self/status", "/tmp"}) {
    INFO(file);
    const supervision::frame odd{
      lane_kind::receipts, {},
      std::make_shared<const supervision::descriptor>(::open(file, O_RDONLY | O_CLOEXEC))};
    CHECK_FALSE(unpack(odd));
  }
}
