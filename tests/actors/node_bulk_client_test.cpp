// The client of the bulk path: what it believes of a node, and what it does not write any more.

#include "tests/support/bulk_ground.hpp"
#include "tests/support/proxy.hpp"
#include "tests/support/raw_peer.hpp"

namespace {

using namespace viva;
using namespace viva::tests;
using node::access;

/// Where a node could be, and is not.
struct ear {
  ear() {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    REQUIRE(::bind(door.get(), reinterpret_cast<sockaddr*>(&at), size) == 0);
    REQUIRE(::listen(door.get(), 4) == 0);
    REQUIRE(::getsockname(door.get(), reinterpret_cast<sockaddr*>(&at), &size) == 0);
    port = ntohs(at.sin_port);
  }
  supervision::descriptor door{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::uint16_t port = 0;
};

/// The next who comes, let in as by a server.
raw_peer let_in(const ear& by) {
  raw_peer client(
      supervision::descriptor{::accept4(by.door.get(), nullptr, nullptr, SOCK_CLOEXEC)});
  auto head = client.hear().value();
  head.kind = node::frame_kind::welcome;
  client.say(head);
  return client;
}

} // namespace

TEST_CASE("node bulk: a client gives a silent node up after its patience, with a retryable error",
          "[node]") {
  const ear deaf;
  const auto threads = std::make_shared<node::network>();
  node::bulk_client by(threads, {"127.0.0.1", deaf.port}, a_job,
                       {.security = {}, .patience = std::chrono::milliseconds(200)});
  const auto silent = put(by, file_of("x"), 0, {0, 0, 1});
  REQUIRE_FALSE(silent);
  CHECK(silent.error().code == errc::timed_out);
  CHECK(silent.error().text.find("127.0.0.1:") == 0);
}

TEST_CASE("node bulk: a client believes no answer that it did not ask for", "[node]") {
  const ear liar;
  const auto threads = std::make_shared<node::network>();
  const auto answered = [&](const auto& change) {
    node::bulk_client by(threads, {"127.0.0.1", liar.port}, a_job);
    reply answer;
    by.put(file_of("x"), 0, {0, 0, 1}, answer.taker());
    auto client = let_in(liar);
    auto head = client.hear().value();
    head.kind = node::frame_kind::done;
    head.bytes = 0;
    change(head);
    client.say(head);
    return answer.wait();
  };
  CHECK(answered([](node::frame_head&) {}));
  for (const auto& told : {answered([](node::frame_head& head) { head.number += 1; }),
                           answered([](node::frame_head& head) { head.key.epoch += 1; }),
                           answered([](node::frame_head& head) {
                             head.kind = node::frame_kind::welcome;
                           })}) {
    REQUIRE_FALSE(told);
    CHECK(told.error().code == errc::fault);
  }
}

TEST_CASE("node bulk: a client writes no bytes that have another checksum", "[node]") {
  const ear liar;
  const auto threads = std::make_shared<node::network>();
  for (const bool honest : {true, false}) {
    const std::string bytes = honest ? "good" : "evil";
    INFO(bytes);
    const auto to = file_of("----");
    node::bulk_client by(threads, {"127.0.0.1", liar.port}, a_job);
    reply answer;
    by.get({0, 0, 4}, to, 0, answer.taker());
    auto client = let_in(liar);
    auto head = client.hear().value();
    head.kind = node::frame_kind::data;
    head.checksum = node::checksum_of(std::as_bytes(std::span("good", 4)));
    client.say(head, bytes);
    const auto told = answer.wait();
    CHECK(told.has_value() == honest);
    CHECK(bytes_of(to) == (honest ? "good" : "----"));
    if (!told) {
      CHECK(retryable(told.error().code));
      CHECK(told.error().text.find("bytes came damaged") != std::string::npos);
    }
  }
}

TEST_CASE("node bulk: what a node refuses is never told as a problem of the file here", "[node]") {
  using node::access;
  bulk_ground ground;
  for (const auto way : {access::write, access::read})
    for (const auto code : {errc::unreadable, errc::disk_full, errc::cannot_write,
                            errc::bad_option}) {
      CAPTURE(way == access::write, static_cast<int>(code));
      ground.server->open_job(a_job, [code](access, const node::range&) {
        return expected<node::shared_file>(tl::unexpected(error{code, "its own reason"}));
      });
      auto by = ground.client();
      const auto told = way == access::write ? put(by, file_of("x"), 0, {0, 0, 1})
                                             : get(by, {0, 0, 1}, file_of("-"), 0);
      REQUIRE_FALSE(told);
      const bool like_ours = way == access::write
                               ? code == errc::unreadable
                               : code == errc::disk_full || code == errc::cannot_write;
      CHECK(told.error().code == (like_ours ? errc::fault : code));
      CHECK(told.error().text.find("its own reason") != std::string::npos);
      ground.server->close_job(a_job);
    }
}

TEST_CASE("node bulk: gets that are given up are answered at once, and nothing of them is written",
          "[node]") {
  constexpr std::size_t slab = node::body_bytes_max;
  bulk_ground ground;
  const auto source = noise(3 * slab, 9);
  ground.server->open_job(a_job, {file_of(source)});
  ground.server->allow(a_job, access::read, {0, 0, source.size()});
  proxy between(ground.server->port());
  node::bulk_client by(ground.threads, {"127.0.0.1", between.port()}, a_job);
  const std::string blank(source.size(), '-');
  const auto kept = file_of(blank), lost = file_of(blank);
  REQUIRE(get(by, {0, 0, 1}, kept, 0));
  REQUIRE(ground.soon([](const auto& now) { return now.bytes_out == 1; }));
  between.set(proxy::way::back, proxy::mood::hold);
  reply first, second, third;
  by.get({0, 0, slab}, lost, 0, first.taker(), 7);
  by.get({0, slab, slab}, kept, slab, second.taker(), 8);
  by.get({0, 0, source.size()}, lost, 0, third.taker(), 7);
  CHECK(ground.soon([](const auto& now) { return now.bytes_out > 1; })); // they are on their way
  by.give_up(7);
  for (auto* each : {&first, &third}) {
    const auto told = each->wait();
    REQUIRE_FALSE(told);
    CHECK(told.error().code == errc::interrupted);
  }
  between.set(proxy::way::back, proxy::mood::forward);
  CHECK(second.wait());
  CHECK(get(by, {0, 2 * slab, slab}, kept, 2 * slab)); // behind all that was given up
  const bool blank_still = bytes_of(lost) == blank;
  CHECK(blank_still);
  const bool whole = bytes_of(kept).substr(slab) == source.substr(slab);
  CHECK(whole);
}

TEST_CASE("node bulk: eight frames at most wait for their answers", "[node]") {
  constexpr std::size_t slab = node::body_bytes_max;
  bulk_ground ground;
  const auto source = noise(12 * slab, 3);
  const auto here = file_of(source), there = file_of(std::string(source.size(), '\0'));
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, access::write, {0, 0, source.size()});
  proxy between(ground.server->port());
  node::bulk_client by(ground.threads, {"127.0.0.1", between.port()}, a_job);
  REQUIRE(put(by, here, 0, {0, 0, 1}));
  between.set(proxy::way::back, proxy::mood::hold);
  reply all;
  by.put(here, 0, {0, 0, source.size()}, all.taker());
  constexpr std::size_t most = 8 * slab + 1;
  CHECK(ground.soon([](const auto& now) { return now.bytes_in >= most; }));
  ::usleep(200'000); // for a ninth
  CHECK(ground.server->counts().bytes_in == most);
  between.set(proxy::way::back, proxy::mood::forward);
  CHECK(all.wait());
  const bool same = bytes_of(there) == source;
  CHECK(same);
}
