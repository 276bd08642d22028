#include "cli/progress.hpp"

#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

using namespace viva;
using namespace viva::cli;

namespace {

progress half_way() {
  progress now;
  now.bytes_done = 1ull << 29;
  now.bytes_total = 1ull << 30;
  now.shards_done = 64;
  now.shards_total = 128;
  now.restarts = 1;
  now.seconds = 0.5;
  return now;
}

} // namespace

TEST_CASE("progress: the bar says share, bytes, rate, time left and restarts", "[cli]") {
  const auto line = bar_line("quantize", half_way(), 200);
  CHECK(line
        == "quantize [############            ]  50 %  512 MiB of 1.00 GiB  1.07 GB/s  "
           "ETA 0.50 s  1 restart");
}

TEST_CASE("progress: the bar never leaves its line", "[cli]") {
  CHECK(bar_line("quantize", half_way(), 40).size() == 40);
}

TEST_CASE("progress: nothing done and nothing to do are both drawn", "[cli]") {
  const auto line = bar_line("quantize", {}, 200);
  CHECK(line.find("  0 %") != std::string::npos);
  CHECK(line.find("ETA") == std::string::npos);
}

TEST_CASE("progress: a JSON line is one document with every number", "[cli]") {
  const auto line = json_line("quantize", half_way());
  CHECK(line.find('\n') == std::string::npos);
  const auto parsed = nlohmann::json::parse(line);
  CHECK(parsed["job"] == "quantize");
  CHECK(parsed["bytes_done"] == 1ull << 29);
  CHECK(parsed["shards_total"] == 128);
  CHECK(parsed["restarts"] == 1);
}
