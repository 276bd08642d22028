// Frames: whole, in turn, of the length they say; and everything else.

#include "supervision/channel.hpp"
#include "supervision/pulse.hpp"
#include "tests/support/catch.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstring>
#include <filesystem>
#include <random>

using namespace viva::supervision;

namespace {

std::pair<channel, channel> pair_of_ends() {
  auto ends = channel::make_pair();
  REQUIRE(ends);
  return std::move(*ends);
}

std::string whole(std::uint16_t kind, std::uint32_t sequence, const std::string& payload) {
  const auto header = frame_header(kind, sequence, payload.size());
  return std::string{header.data(), header.size()} + payload;
}

} // namespace

TEST_CASE("channel: frames arrive whole and in order, the largest and the empty too") {
  auto [a, b] = pair_of_ends();
  const std::string large(frame_payload_max, 'x');
  REQUIRE(a.send({16, large, {}}) == channel::sent::yes);
  auto got = b.receive();
  REQUIRE(got.what == arrival::kind::frame);
  CHECK(got.got.payload == large);
  REQUIRE(a.send({17, "", {}}) == channel::sent::yes);
  got = b.receive();
  CHECK(got.got.kind == 17);
  CHECK(got.got.payload.empty());
  a = channel{};
  CHECK(b.receive().what == arrival::kind::gone);
  CHECK(b.send({16, "x", {}}) == channel::sent::gone);
}

TEST_CASE("channel: a descriptor travels with its frame and is closed on exec") {
  auto [a, b] = pair_of_ends();
  const auto memory = std::make_shared<const descriptor>(::memfd_create("test", MFD_CLOEXEC));
  REQUIRE(::write(memory->get(), "seven", 5) == 5);
  REQUIRE(a.send({16, "look", memory}) == channel::sent::yes);
  const auto got = b.receive();
  REQUIRE(got.got.attached);
  char text[5] = {};
  CHECK(::pread(got.got.attached->get(), text, 5, 0) == 5);
  CHECK(std::string(text, 5) == "seven");
  CHECK((::fcntl(got.got.attached->get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("channel: two descriptors in one message are nonsense, and neither stays open") {
  auto [a, b] = pair_of_ends();
  const auto open_now = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  const auto before = open_now();
  auto header = frame_header(16, 0, 0);
  iovec part{header.data(), header.size()};
  const int fds[2] = {0, 0};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  auto* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(rights), fds, sizeof fds);
  REQUIRE(::sendmsg(a.native(), &message, 0) > 0);
  const auto got = b.receive();
  CHECK(got.what == arrival::kind::nonsense);
  CHECK(got.why.find("more than one descriptor") != std::string::npos);
  CHECK(open_now() == before);
}

TEST_CASE("channel: a full socket that does not block says so and loses nothing") {
  auto [a, b] = pair_of_ends();
  ::fcntl(a.native(), F_SETFL, O_NONBLOCK);
  ::fcntl(b.native(), F_SETFL, O_NONBLOCK);
  CHECK(b.receive().what == arrival::kind::nothing);
  int sent = 0;
  while (a.send({16, std::to_string(sent), {}}) == channel::sent::yes)
    ++sent;
  REQUIRE(sent > 1);
  for (int i = 0; i < sent; ++i)
    CHECK(b.receive().got.payload == std::to_string(i));
  CHECK(a.send({16, "again", {}}) == channel::sent::yes);
  CHECK(b.receive().got.payload == "again"); // its number is the one that was due
}

TEST_CASE("channel: sockets have room for the largest frame; what never fits is told apart") {
  auto [a, b] = pair_of_ends();
  for (auto* end : {&a, &b}) {
    int bytes = 0;
    socklen_t length = sizeof bytes;
    REQUIRE(::getsockopt(end->native(), SOL_SOCKET, SO_SNDBUF, &bytes, &length) == 0);
    CHECK(bytes >= static_cast<int>(2 * (frame_header_bytes + frame_payload_max)));
  }
  const int few = 4096;
  REQUIRE(::setsockopt(a.native(), SOL_SOCKET, SO_SNDBUF, &few, sizeof few) == 0);
  CHECK(a.send({16, std::string(frame_payload_max, 'x'), {}}) == channel::sent::too_long);
  CHECK(a.send({16, "short", {}}) == channel::sent::yes);
  CHECK(b.receive().got.payload == "short"); // what was refused took no number
}

TEST_CASE("channel: every frame that is not exactly right is refused with what is wrong") {
  const auto right = whole(16, 5, "payload");
  CHECK(refuse_frame(right, 5) == nullptr);
  CHECK(refuse_frame(right, 4) == std::string("a frame out of turn"));
  CHECK(refuse_frame(right + "x", 5) == std::string("a frame of another length than it says"));
  CHECK(refuse_frame(whole(0, 5, ""), 5) == std::string("a frame of no kind"));
  for (std::size_t bytes = 0; bytes < right.size(); ++bytes)
    CHECK(refuse_frame(std::string_view(right).substr(0, bytes), 5) != nullptr);
  const std::string none(2, '\0');
  for (std::size_t bit = 0; bit < frame_header_bytes * 8; ++bit) {
    auto flipped = right;
    flipped[bit / 8] ^= static_cast<char>(1 << bit % 8);
    INFO("bit " << bit);
    // Another kind is another frame; whoever reads it knows which kinds are due.
    const bool other_kind = (bit / 8 == 4 || bit / 8 == 5) && flipped.substr(4, 2) != none;
    CHECK((refuse_frame(flipped, 5) == nullptr) == other_kind);
  }
}

TEST_CASE("channel: random bytes never pass, and a refused message takes nothing with it") {
  auto [a, b] = pair_of_ends();
  std::mt19937 random{11};
  for (int i = 0; i < 2'000; ++i) {
    std::string bytes(1 + random() % 200, '\0');
    for (auto& each : bytes)
      each = static_cast<char>(random());
    REQUIRE(::send(a.native(), bytes.data(), bytes.size(), 0) > 0);
    CHECK(b.receive().what == arrival::kind::nonsense);
  }
  CHECK(a.send({16, "sense", {}}) == channel::sent::yes);
  CHECK(b.receive().got.payload == "sense");
}

TEST_CASE("pulse: both sides see one page; what cannot be one is refused") {
  auto ours = pulse::make();
  REQUIRE(ours);
  auto theirs = pulse::join(descriptor{::dup(ours->native())});
  REQUIRE(theirs);
  theirs->page().mark = 9;
  CHECK(ours->page().mark.load() == 9);
  theirs->say("it was\x01 me");
  CHECK(ours->words() == "it was? me");
  theirs->say(std::string(10'000, 'x'));
  CHECK(ours->words() == std::string(511, 'x'));
  CHECK(::ftruncate(theirs->native(), 0) != 0); // sealed
  CHECK_FALSE(pulse::join(descriptor{::memfd_create("short", MFD_CLOEXEC)}));
  CHECK_FALSE(pulse::join(descriptor{}));
}
