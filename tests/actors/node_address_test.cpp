// Addresses of nodes: what is one, and which need certificates.

#include "actors/node/address.hpp"

#include "tests/support/catch.hpp"

namespace {

using namespace viva;
using namespace viva::actors::node;

bool holds(std::string_view text, std::string_view words) {
  return text.find(words) != std::string_view::npos;
}

std::string refusal(std::string_view text) {
  const auto got = parse_address(text);
  return got ? "taken as " + got->text() : got.error().text;
}

} // namespace

TEST_CASE("node address: numbers, names and IPv6 in brackets are read and written alike",
          "[node]") {
  for (const auto* text : {"10.0.0.2:4242", "[fd00::2]:4242", "[::1]:0", "node-3.cluster_a:65533",
                           "localhost:1"}) {
    const auto got = parse_address(text);
    REQUIRE(got);
    CHECK(got->text() == text);
  }
  CHECK(parse_address("[fd00::2]:4242")->host == "fd00::2");
  CHECK(parse_address("10.0.0.2:4242")->port == 4242);
}

TEST_CASE("node address: what is none is refused with the reason", "[node]") {
  CHECK(holds(refusal("10.0.0.2"), "is not HOST:PORT"));
  CHECK(holds(refusal(""), "is not HOST:PORT"));
  CHECK(holds(refusal("[::1]"), "is not HOST:PORT"));
  CHECK(holds(refusal("[::1]x:4242"), "is not HOST:PORT"));
  CHECK(holds(refusal("fd00::2:4242"), "brackets"));
  CHECK(holds(refusal("[fd00:::2]:4242"), "no IPv6 number"));
  CHECK(holds(refusal("[10.0.0.2]:4242"), "no IPv6 number"));
  CHECK(holds(refusal("[]:4242"), "no IPv6 number"));
  CHECK(holds(refusal(":4242"), "no host"));
  CHECK(holds(refusal("a b:4242"), "no host"));
  const std::string longest(253, 'a');
  CHECK(parse_address(longest + ":1"));
  CHECK(holds(refusal(longest + "a:1"), "no host"));
  CHECK(holds(refusal(std::string("a\0b:1", 5)), "no host"));
  for (const auto* text : {"a:65534", "a:99999999999", "a:-1", "a:+1", "a:4x", "a: 1", "a:"})
    CHECK(holds(refusal(text), "the port is no number up to 65533"));
}

TEST_CASE("node address: a list names each node once", "[node]") {
  const auto two = parse_addresses({"10.0.0.2:4242", "[::1]:4243"});
  REQUIRE(two);
  REQUIRE(two->size() == 2);
  CHECK((*two)[1].text() == "[::1]:4243");
  CHECK(parse_addresses({})->empty());
  CHECK_FALSE(parse_addresses({"a:1", ""}));
  CHECK_FALSE(parse_addresses({"a:1 ", "b:2"}));
  const auto twice = parse_addresses({"a:1", "b:2", "a:1"});
  REQUIRE_FALSE(twice);
  CHECK(holds(twice.error().text, "stands twice in the list"));
}

TEST_CASE("node address: loopback is what never leaves the machine", "[node]") {
  for (const auto* host : {"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "localhost"})
    CHECK(is_loopback({host, 1}));
  for (const auto* host : {"0.0.0.0", "::", "10.0.0.2", "128.0.0.1", "::ffff:10.0.0.2", "fd00::1",
                           "127.0.0.1.example.org", "localhost.example.org"})
    CHECK_FALSE(is_loopback({host, 1}));
}

TEST_CASE("node address: what leaves the machine needs certificates or a spelled-out word",
          "[node]") {
  const address here{"127.0.0.1", 1}, away{"10.0.0.2", 4242};
  CHECK(needs_tls({here}, false, false).value() == false);
  CHECK(needs_tls({here}, true, false).value() == true);
  CHECK(needs_tls({here, away}, true, false).value() == true);
  CHECK(needs_tls({here, away}, false, true).value() == false);
  CHECK(needs_tls({here, away}, true, true).value() == true); // certificates are not idle
  const auto refused = needs_tls({here, away}, false, false);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code == errc::bad_option);
  CHECK(holds(refused.error().text, "10.0.0.2:4242"));
  CHECK(holds(refused.error().text, "--tls"));
}
