#include "actors/collector.hpp"
#include "tests/support/catch.hpp"

using namespace viva::actors;
using namespace std::chrono_literals;

TEST_CASE("latency histogram: a quantile is within 7 % of the value that was put in") {
  for (const auto us : {1, 7, 8, 9, 100, 1234, 99'999, 12'345'678}) {
    latency_histogram h;
    h.add(std::chrono::microseconds(us));
    latency_histogram::counts all{};
    h.merge_into(all);
    const double ms = latency_histogram::quantile_ms(all, 0.5);
    CHECK(ms == Approx(us / 1000.0).epsilon(0.07).margin(0.00051));
  }
}

TEST_CASE("meters: the lives of a lane add up, and all but the first are restarts") {
  meter_board board;
  for (int life = 0; life < 3; ++life) {
    auto meter = board.hang("lane-0");
    meter->shards += 2;
    meter->bytes += 10;
  }
  board.hang("lane-1")->shards += 1;
  const auto seen = read_meters(board);
  REQUIRE(seen.lanes.size() == 2);
  CHECK(seen.lanes[0].shards == 6);
  CHECK(seen.lanes[0].bytes == 30);
  CHECK(seen.lanes[0].restarts == 2);
  CHECK(seen.lanes[1].restarts == 0);
  CHECK(seen.restarts == 2);
}
