// Frames between nodes and the sets of ranges: what is believed, and what is not.

#include "actors/node/range_set.hpp"
#include "actors/node/wire.hpp"

#include "tests/support/catch.hpp"

#include <cstring>
#include <random>
#include <vector>

#include <xxhash.h>

namespace {

using namespace viva;
using namespace viva::actors::node;

frame_head put_head() {
  frame_head head;
  head.kind = frame_kind::put;
  head.key = {1, ~std::uint64_t{0}, 3};
  head.number = 7;
  head.offset = 1ull << 40;
  head.file = 5;
  head.bytes = 1u << 20;
  head.checksum = 0x0123456789abcdefull;
  return head;
}

/// With a check that is right, so that only the changed field can be refused.
template <class T>
expected<frame_head> with(std::size_t at, T value, frame_head head = put_head()) {
  auto raw = encode(head);
  std::memcpy(raw.data() + at, &value, sizeof value);
  const std::uint64_t check = XXH3_64bits(raw.data(), 64);
  std::memcpy(raw.data() + 64, &check, sizeof check);
  return decode_head(raw);
}

} // namespace

TEST_CASE("node wire: a body's checksum is xxh3's, whichever processor computes it", "[node]") {
  std::vector<std::byte> body(body_bytes_max + 3);
  for (std::size_t i = 0; i < body.size(); ++i)
    body[i] = static_cast<std::byte>(i * 2654435761u >> 13);
  for (const std::size_t bytes : {0ul, 1ul, 3ul, 8ul, 16ul, 17ul, 128ul, 129ul, 240ul, 241ul,
                                  1023ul, 1024ul, 1025ul, 65'537ul, body_bytes_max}) {
    CAPTURE(bytes);
    const std::span<const std::byte> part(body.data() + 3, bytes); // nothing is aligned
    CHECK(checksum_of(part) == XXH3_64bits(part.data(), part.size()));
  }
}

TEST_CASE("node wire: a head comes back as it was", "[node]") {
  CHECK(decode_head(encode(put_head())).value() == put_head());
  frame_head get = put_head();
  get.kind = frame_kind::get;
  CHECK(decode_head(encode(get))->body_bytes() == 0);
  CHECK(put_head().body_bytes() == 1u << 20);
}

TEST_CASE("node wire: a head of which any bit is wrong is refused", "[node]") {
  const auto good = encode(put_head());
  for (std::size_t bit = 0; bit < 8 * head_bytes; ++bit) {
    auto raw = good;
    raw[bit / 8] ^= std::byte{1} << (bit % 8);
    INFO(bit);
    CHECK_FALSE(decode_head(raw));
  }
}

TEST_CASE("node wire: what a head may not say is refused although its check is right", "[node]") {
  CHECK(with<std::uint32_t>(52, 1u << 20));
  CHECK_FALSE(with<std::uint32_t>(52, (1u << 20) + 1));
  CHECK_FALSE(with<std::uint32_t>(52, ~0u));
  CHECK_FALSE(with<std::uint32_t>(52, 0)); // a put of nothing
  CHECK_FALSE(with<std::uint16_t>(6, 0));
  CHECK_FALSE(with<std::uint16_t>(6, 9));
  CHECK_FALSE(with<std::uint16_t>(6, 0xffff));
  CHECK_FALSE(with<std::uint16_t>(6, 1)); // a hello has no body
  CHECK(with<std::uint64_t>(40, (1ull << 63) - 1 - (1u << 20)));
  CHECK_FALSE(with<std::uint64_t>(40, (1ull << 63) - (1u << 20))); // beyond any file
  CHECK_FALSE(with<std::uint64_t>(40, ~std::uint64_t{0}));
  const auto other = with<std::uint16_t>(4, wire_version + 1);
  REQUIRE_FALSE(other);
  CHECK(other.error().text.find("version 3") != std::string::npos);
}

TEST_CASE("node wire: noise is no head", "[node]") {
  std::mt19937_64 random(1);
  for (int round = 0; round < 100'000; ++round) {
    raw_head raw;
    for (std::size_t at = 0; at < head_bytes; at += 8) {
      const auto word = random();
      std::memcpy(raw.data() + at, &word, 8);
    }
    if (round % 2 == 0)
      std::memcpy(raw.data(), "VIVB\1\0\3\0", 8);
    REQUIRE_FALSE(decode_head(raw));
  }
}

TEST_CASE("node wire: a refusal keeps its code, and its text is fit for a terminal", "[node]") {
  const auto round = [](const error& why) {
    const auto body = encode_refusal(why);
    return decode_refusal(std::as_bytes(std::span(body)));
  };
  const auto same = round({errc::disk_full, "file 3: no space"});
  REQUIRE(same);
  CHECK(same->code == errc::disk_full);
  CHECK(same->text == "file 3: no space");
  CHECK(round({errc::fault, "a\x1b[2Jb\n"})->text == "a?[2Jb?");
  CHECK(round({errc::fault, std::string(10'000, 'x')})->text.size() == refusal_bytes_max - 1);
  CHECK_FALSE(decode_refusal({}));
  for (const char* bad : {"\xff text", "\x7f"})
    CHECK_FALSE(decode_refusal(std::as_bytes(std::span(bad, std::strlen(bad)))));
  CHECK_FALSE(round({errc::ok, "fine"})); // a refusal that refuses nothing
}

TEST_CASE("node wire: a set of ranges agrees with a list of how many mean each byte", "[node]") {
  std::mt19937 random(7);
  range_set set;
  std::vector<int> depth(64);
  for (int step = 0; step < 20'000; ++step) {
    const auto begin = random() % 64;
    const auto count = random() % (64 - begin + 1);
    const bool adds = random() % 2 == 0;
    adds ? set.add(begin, count) : set.remove(begin, count);
    for (auto at = begin; at < begin + count; ++at)
      depth[at] = std::max(depth[at] + (adds ? 1 : -1), 0);
    const auto from = random() % 64;
    const auto asked = random() % (64 - from + 1);
    std::vector<bool> gaps(64), seen(64);
    for (auto at = from; at < from + asked; ++at)
      gaps[at] = depth[at] == 0;
    set.each_gap(from, asked, [&](std::uint64_t at, std::uint64_t bytes) {
      std::fill_n(seen.begin() + static_cast<std::ptrdiff_t>(at), bytes, true);
    });
    REQUIRE(seen == gaps);
    REQUIRE(set.holds(from, asked) == (std::ranges::count(gaps, true) == 0));
  }
  CHECK_FALSE(set.holds(8, ~0ull)); // whose end would be before its beginning
  for (int most = *std::ranges::max_element(depth); most > 0; --most)
    set.remove(0, 64);
  CHECK(set.empty());
}
