#include "cli/bytes.hpp"

#include "tests/support/catch.hpp"

using namespace viva;
using namespace viva::cli;

TEST_CASE("bytes: binary and decimal units are told apart", "[cli]") {
  CHECK(parse_bytes("1GiB").value() == 1ull << 30);
  CHECK(parse_bytes("512MiB").value() == 512ull << 20);
  CHECK(parse_bytes("4GB").value() == 4'000'000'000ull);
  CHECK(parse_bytes("16 KiB").value() == 16'384u);
  CHECK(parse_bytes("2tb").value() == 2'000'000'000'000ull);
}

TEST_CASE("bytes: a bare number is bytes, and every digit counts", "[cli]") {
  CHECK(parse_bytes("0").value() == 0u);
  CHECK(parse_bytes("9007199254740993").value() == 9007199254740993ull); // 2^53 + 1
}

TEST_CASE("bytes: a fraction is taken of its unit", "[cli]") {
  CHECK(parse_bytes("1.5GiB").value() == 3ull << 29);
}

TEST_CASE("bytes: what is no size is refused by its text", "[cli]") {
  for (const auto* text :
       {"", "GiB", "-1GiB", "1XB", "1GiB2", "nan", "inf", "1e3", "9999999TiB", "0x10"}) {
    INFO(text);
    const auto parsed = parse_bytes(text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == errc::bad_option);
    CHECK(parsed.error().text.find(std::string("'") + text + "'") != std::string::npos);
  }
}

TEST_CASE("bytes: sizes are written with three digits", "[cli]") {
  CHECK(format_bytes(512) == "512 B");
  CHECK(format_bytes(1ull << 30) == "1.00 GiB");
  CHECK(format_bytes(18'140'365) == "17.3 MiB");
  CHECK(format_bytes(1000ull << 20) == "0.98 GiB");
  CHECK(format_bytes(1ull << 20) == "1.00 MiB");
}

TEST_CASE("bytes: durations grow from seconds to hours", "[cli]") {
  CHECK(format_seconds(0.8421) == "0.84 s");
  CHECK(format_seconds(123) == "2:03");
  CHECK(format_seconds(3723.4) == "1:02:03");
}
