// The bulk path: bytes arrive as they were, only where they may, and nobody's nonsense ends it.

#include "tests/support/bulk_ground.hpp"
#include "tests/support/proxy.hpp"
#include "tests/support/raw_peer.hpp"

#include <fcntl.h>

#include <filesystem>

namespace {

using namespace viva;
using namespace viva::tests;
using node::access;

constexpr std::size_t slab = node::body_bytes_max;

} // namespace

TEST_CASE("node bulk: ranges of every length go there and come back", "[node]") {
  bulk_ground ground;
  const auto source = noise(3 * slab + 4096, 1);
  const auto here = file_of(source), there = file_of(std::string(source.size(), '\0'));
  ground.server->open_job(a_job, {file_of("another"), there});
  ground.server->allow(a_job, access::write, {1, 0, source.size()});
  ground.server->allow(a_job, access::read, {1, 0, source.size()});
  auto by = ground.client();
  std::uint64_t total = 0;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{4095}, slab - 1, slab,
                                  slab + 1, 3 * slab + 17}) {
    INFO(bytes);
    const auto back = file_of(std::string(bytes + 2, '\0'));
    CHECK(put(by, here, 5, {1, 9, bytes}));
    CHECK(bytes_of(there).substr(9, bytes) == source.substr(5, bytes));
    CHECK(get(by, {1, 9, bytes}, back, 1));
    CHECK(bytes_of(back).substr(1, bytes) == source.substr(5, bytes));
    total += bytes;
  }
  const auto counts = ground.server->counts();
  CHECK(counts.bytes_in == total);
  CHECK(counts.bytes_out == total);
  CHECK(counts.connections == 1);
  CHECK(counts.refused + counts.garbage + counts.strangers == 0);
}

TEST_CASE("node bulk: many requests at once, from many clients, are all answered", "[node]") {
  bulk_ground ground({}, {.threads = 2, .slabs = 2});
  constexpr std::size_t each = 300'000, requests = 16, clients = 4;
  const auto source = noise(each * requests * clients, 2);
  const auto here = file_of(source), there = file_of(std::string(source.size(), '\0'));
  const auto back = file_of(std::string(source.size(), '\0'));
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, access::write, {0, 0, source.size()});
  ground.server->allow(a_job, access::read, {0, 0, source.size()});
  std::vector<std::unique_ptr<node::bulk_client>> all;
  std::vector<reply> answers(2 * requests * clients);
  auto next = answers.begin();
  for (std::size_t c = 0; c < clients; ++c) {
    all.push_back(
        std::make_unique<node::bulk_client>(ground.threads, ground.where(), a_job));
    for (std::size_t r = 0; r < requests; ++r) {
      const std::uint64_t at = (c * requests + r) * each;
      all.back()->put(here, at, {0, at, each}, (next++)->taker());
      all.back()->get({0, at, each}, back, at, (next++)->taker()); // behind its put
    }
  }
  for (auto& answer : answers)
    CHECK(answer.wait());
  CHECK(bytes_of(there) == source);
  CHECK(bytes_of(back) == source);
}

TEST_CASE("node bulk: only what is allowed just now is touched", "[node]") {
  bulk_ground ground;
  const std::string before(4096, '-');
  const auto there = file_of(before), here = file_of(noise(4096, 3));
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, access::write, {0, 1000, 1000});
  auto by = ground.client();
  for (const node::range where : {node::range{0, 999, 10}, {0, 1991, 10}, {0, 0, 4096}, {1, 0, 1},
                                  {~0u, 0, 1}, {0, 1ull << 62, 1}}) {
    const auto refused = put(by, here, 0, where);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code == errc::cannot_write);
    CHECK(refused.error().text.find(ground.where().text()) == 0); // names the peer
  }
  CHECK(bytes_of(there) == before);
  const auto unread = get(by, {0, 1000, 10}, here, 0);
  REQUIRE_FALSE(unread);
  CHECK(unread.error().code == errc::unreadable); // writing is not reading
  CHECK(put(by, here, 0, {0, 1000, 1000}));       // the connection lives
  ground.server->withdraw(a_job, access::write, {0, 1500, 100});
  CHECK_FALSE(put(by, here, 0, {0, 1000, 1000}));
  CHECK(put(by, here, 0, {0, 1000, 500}));
  CHECK(ground.server->counts().refused == 8);
}

TEST_CASE("node bulk: who comes from an earlier life is turned away", "[node]") {
  bulk_ground ground;
  const auto there = file_of("before"), here = file_of("after!");
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, access::write, {0, 0, 6});
  for (const auto& key : {node::job_key{0x1110, 0x2222, 0x3333}, {0x1111, 0x2221, 0x3333},
                          {0x1111, 0x2222, 0x3332}}) {
    node::bulk_client late(ground.threads, ground.where(), key);
    const auto refused = put(late, here, 0, {0, 0, 6});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text.find("earlier life") != std::string::npos);
    CHECK_FALSE(put(late, here, 0, {0, 0, 6})); // and stays so
  }
  CHECK(bytes_of(there) == "before");
  CHECK(ground.soon([](const auto& now) { return now.strangers == 3 && now.connections == 0; }));
}

TEST_CASE("node bulk: a job that is closed takes nothing more and lets its clients go", "[node]") {
  bulk_ground ground;
  const auto there = file_of("before"), here = file_of("after!");
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, access::write, {0, 0, 6});
  auto by = ground.client();
  CHECK(put(by, here, 0, {0, 0, 6}));
  ground.server->close_job(a_job);
  const auto refused = put(by, file_of("later!"), 0, {0, 0, 6});
  REQUIRE_FALSE(refused);
  CHECK(bytes_of(there) == "after!");
  CHECK(there.use_count() == 1); // its files are let go
  CHECK(ground.soon([](const auto& now) { return now.connections == 0; }));
}

TEST_CASE("node bulk: a problem of a file is its request's, and says whose", "[node]") {
  bulk_ground ground;
  const auto there = file_of(std::string(100, '-'));
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, access::write, {0, 0, 1000});
  ground.server->allow(a_job, access::read, {0, 0, 1000});
  auto by = ground.client();
  const auto shorter = put(by, file_of("short"), 0, {0, 0, 100});
  REQUIRE_FALSE(shorter);
  CHECK(shorter.error().text.find("the file to send: ends at byte 5") != std::string::npos);
  const auto beyond = get(by, {0, 90, 100}, file_of(""), 0);
  REQUIRE_FALSE(beyond);
  CHECK(beyond.error().text.find("file 0 of the job: ends at byte 100") != std::string::npos);
  const auto unwritable =
      std::make_shared<const supervision::descriptor>(::open("/dev/null", O_RDONLY));
  const auto unwritten = get(by, {0, 0, 10}, unwritable, 0);
  REQUIRE_FALSE(unwritten);
  CHECK(unwritten.error().text.find("the file to receive into") != std::string::npos);
  CHECK(put(by, file_of("ten bytes!"), 0, {0, 0, 10}));
}

TEST_CASE("node bulk: what is no frame closes its connection, is counted, and the server lives",
          "[node]") {
  bulk_ground ground;
  const auto there = file_of(std::string(100, '-'));
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, access::write, {0, 0, 100});
  for (const std::string& what :
       {std::string("GET / HTTP/1.1\r\nHost: viva.example.org\r\n") + std::string(100, 'x'),
        noise(200, 5), std::string(200, '\0')}) {
    raw_peer stranger(ground.server->port());
    stranger.say(what);
    CHECK(stranger.is_closed());
  }
  CHECK(ground.soon([](const auto& now) { return now.strangers == 3; }));
  node::frame_head frame = hello();
  frame.kind = node::frame_kind::put;
  frame.number = 2;
  frame.bytes = 4;
  frame.checksum = node::checksum_of(std::as_bytes(std::span("good", 4)));
  const auto says = [&](const node::frame_head& head, std::string_view body) {
    raw_peer peer(ground.server->port());
    peer.say(hello());
    REQUIRE(peer.hear());
    peer.say(head, body);
    return peer.is_closed();
  };
  CHECK(says(frame, "evil")); // another checksum
  auto bad = frame;
  bad.number = 3;
  CHECK(says(bad, "good")); // one is missing
  bad = frame;
  bad.key.epoch += 1;
  CHECK(says(bad, "good")); // of another life
  bad = frame;
  bad.kind = node::frame_kind::data;
  CHECK(says(bad, "good")); // nobody asked
  CHECK(ground.soon([](const auto& now) { return now.garbage == 4 && now.connections == 0; }));
  CHECK(bytes_of(there) == std::string(100, '-'));
  raw_peer twice(ground.server->port()); // a frame that comes again
  twice.say(hello());
  REQUIRE(twice.hear());
  twice.say(frame, "good");
  CHECK(twice.hear()->kind == node::frame_kind::done);
  twice.say(frame, "good");
  CHECK(twice.is_closed());
  auto by = ground.client();
  CHECK(put(by, file_of("fine"), 0, {0, 4, 4}));
  CHECK(bytes_of(there).substr(0, 8) == "goodfine");
}

TEST_CASE("node bulk: an oversized frame is refused before memory is taken for it", "[node]") {
  bulk_ground ground;
  ground.server->open_job(a_job, std::vector<node::shared_file>());
  raw_peer peer(ground.server->port());
  peer.say(hello());
  REQUIRE(peer.hear());
  node::frame_head huge = hello();
  huge.kind = node::frame_kind::put;
  huge.number = 2;
  huge.bytes = 0xfffffff0u;
  peer.say(huge);
  CHECK(peer.is_closed());
  CHECK(ground.soon([](const auto& now) { return now.garbage == 1; }));
}

TEST_CASE("node bulk: who stands still in the middle is closed, who only waits is not", "[node]") {
  bulk_ground ground({.security = {}, .patience = std::chrono::milliseconds(200)});
  const auto there = file_of(std::string(100, '-'));
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, access::write, {0, 0, 100});
  auto idle = ground.client();
  CHECK(put(idle, file_of("first"), 0, {0, 0, 5}));
  raw_peer silent(ground.server->port()), half(ground.server->port()), part(ground.server->port());
  half.say(hello());
  part.say(hello());
  REQUIRE(half.hear());
  REQUIRE(part.hear());
  node::frame_head frame = hello();
  frame.kind = node::frame_kind::put;
  frame.number = 2;
  frame.bytes = 4;
  half.say(frame, "go"); // and not "od"
  part.say("VIV");       // and no more of a head
  CHECK(silent.is_closed());
  CHECK(half.is_closed());
  CHECK(part.is_closed());
  CHECK(ground.soon([](const auto& now) { return now.stalled == 2; }));
  CHECK(ground.soon([](const auto& now) { return now.strangers == 1; })); // it said no hello
  CHECK(put(idle, file_of("again"), 0, {0, 5, 5})); // after more than its patience
  CHECK(bytes_of(there).substr(0, 10) == "firstagain");
}

TEST_CASE("node bulk: who only trickles before a hello is closed, too", "[node]") {
  bulk_ground ground({.security = {}, .patience = std::chrono::milliseconds(300)});
  raw_peer slow(ground.server->port());
  const auto raw = node::encode(hello());
  for (std::size_t i = 0; i < 40; ++i, ::usleep(50'000)) // 2 s, always moving
    slow.say(std::span(raw).subspan(i, 1));
  CHECK(ground.server->counts().strangers == 1);
  CHECK(ground.server->counts().stalled == 0);
}

TEST_CASE("node bulk: so many connections and no more, until one of them ends", "[node]") {
  constexpr std::size_t most = 256; // of a server
  bulk_ground ground;
  ground.server->open_job(a_job, std::vector<node::shared_file>());
  std::vector<raw_peer> all;
  for (std::size_t i = 0; i < most; ++i) {
    all.emplace_back(ground.server->port());
    all.back().say(hello());
    REQUIRE(all.back().hear());
  }
  raw_peer more(ground.server->port());
  CHECK(more.is_closed());
  CHECK(ground.soon([](const auto& now) {
    return now.strangers == 1 && now.connections == most;
  }));
  all.pop_back();
  CHECK(ground.soon([](const auto& now) { return now.connections < most; }));
  raw_peer next(ground.server->port());
  next.say(hello());
  CHECK(next.hear());
}

TEST_CASE("node bulk: no node, a node that goes, a client that goes: every request is answered",
          "[node]") {
  const auto here = file_of(noise(slab, 6));
  std::vector<reply> answers(40);
  {
    auto ground = std::make_unique<bulk_ground>();
    const auto there = file_of(std::string(slab, '\0'));
    ground->server->open_job(a_job, {there});
    ground->server->allow(a_job, access::write, {0, 0, slab});
    const auto where = ground->where();
    auto by = std::make_unique<node::bulk_client>(ground->threads, where, a_job);
    for (std::size_t i = 0; i < 20; ++i)
      by->put(here, 0, {0, 0, slab}, answers[i].taker());
    ground->server.reset(); // in the middle, or nearly
    for (std::size_t i = 20; i < 40; ++i)
      by->put(here, 0, {0, 0, slab}, answers[i].taker());
    for (std::size_t i = 0; i < 39; ++i) {
      const auto how = answers[i].wait();
      CHECK((how || retryable(how.error().code)));
    }
    by.reset();
    node::bulk_client late(ground->threads, where, a_job);
    const auto nobody = put(late, here, 0, {0, 0, 1});
    REQUIRE_FALSE(nobody);
    CHECK(retryable(nobody.error().code));
    CHECK(nobody.error().text.find("is viva node running there") != std::string::npos);
  }
  CHECK_FALSE(answers[39].wait());
}

TEST_CASE("node bulk: nothing is left open behind it", "[node]") {
  const auto open_now = [] {
    const std::filesystem::directory_iterator all("/proc/self/fd");
    return std::distance(begin(all), end(all));
  };
  const auto threads_now = [] {
    const std::filesystem::directory_iterator all("/proc/self/task");
    return std::distance(begin(all), end(all));
  };
  const auto round = [] {
    bulk_ground ground;
    const auto there = file_of("0123456789");
    ground.server->open_job(a_job, {there});
    ground.server->allow(a_job, access::write, {0, 0, 10});
    auto by = ground.client();
    REQUIRE(put(by, file_of("abcdefghij"), 0, {0, 0, 10}));
    raw_peer stranger(ground.server->port());
    stranger.say(hello());
    REQUIRE(stranger.hear());
  };
  round();
  const auto descriptors = open_now();
  const auto threads = threads_now();
  for (int i = 0; i < 10; ++i)
    round();
  CHECK(open_now() == descriptors);
  CHECK(threads_now() == threads);
}

TEST_CASE("node bulk: over a bad network bytes are right or an error is told, never neither",
          "[node]") {
  const std::chrono::milliseconds patience(300);
  bulk_ground ground({{}, patience});
  const auto source = noise(3 * slab, 8);
  const auto there = file_of(std::string(source.size(), '\0')), here = file_of(source);
  ground.server->open_job(a_job, {there});
  ground.server->allow(a_job, access::write, {0, 0, source.size()});
  ground.server->allow(a_job, access::read, {0, 0, source.size()});
  proxy between(ground.server->port());
  const auto back = file_of(std::string(source.size(), '\0'));
  for (const auto way : {proxy::way::there, proxy::way::back})
    for (const auto how : {proxy::mood::twice, proxy::mood::drop, proxy::mood::hold}) {
      node::bulk_client by(ground.threads, {"127.0.0.1", between.port()}, a_job, {{}, patience});
      REQUIRE(put(by, file_of("x"), 0, {0, 0, 1}));
      between.set(way, how);
      reply sent, got;
      by.put(here, 0, {0, 0, source.size()}, sent.taker());
      by.get({0, 0, source.size()}, back, 0, got.taker());
      for (auto* each : {&sent, &got})
        if (const auto told = each->wait(); !told)
          CHECK(retryable(told.error().code));
      between.set(way, proxy::mood::forward);
      node::bulk_client again(ground.threads, {"127.0.0.1", between.port()}, a_job, {{}, patience});
      REQUIRE(put(again, here, 0, {0, 0, source.size()}));
      REQUIRE(get(again, {0, 0, source.size()}, back, 0));
      CHECK(bytes_of(there) == source);
      CHECK(bytes_of(back) == source);
    }
  CHECK(ground.server->counts().garbage > 0);
}
