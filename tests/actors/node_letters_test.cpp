// Letters between a coordinator and a node: the same on the other side, or nothing.

#include "actors/node/letters.hpp"

#include "tests/support/catch.hpp"

using namespace viva;
using namespace viva::actors::node;

namespace {

/// What was cut anywhere, or has more behind it, is no such body.
template <class Decode>
void check_whole(const std::string& bytes, Decode decode) {
  CHECK(decode(bytes));
  for (std::size_t i = 0; i < bytes.size(); ++i)
    CHECK_FALSE(decode(std::string_view(bytes).substr(0, i)));
  CHECK_FALSE(decode(bytes + "x"));
}

} // namespace

TEST_CASE("node letters: the head comes back as it was, and of another version or word not at all",
          "[node]") {
  const letter sent{word::work, {1, 2, 3}, "body"};
  const auto bytes = encode(sent);
  const auto came = decode_letter(bytes);
  REQUIRE(came);
  CHECK(came->what == word::work);
  CHECK(came->of == sent.of);
  CHECK(came->body == "body");
  for (std::size_t i = 0; i < bytes.size() - sent.body.size(); ++i)
    CHECK_FALSE(decode_letter(std::string_view(bytes).substr(0, i)));
  for (const std::size_t at : {0, 4, 6}) { // magic, version, word
    auto bad = bytes;
    bad[at] = '\x7F';
    CHECK_FALSE(decode_letter(bad));
  }
}

TEST_CASE("node letters: bodies come back as they were; cut or longer they are nothing",
          "[node]") {
  const hello h{"build", hello::wish::look};
  CHECK(decode_hello(encode(h))->wants == hello::wish::look);
  check_whole(encode(h), decode_hello);
  auto flag = encode(h);
  flag.back() = 3;
  CHECK_FALSE(decode_hello(flag));

  const loan lent{"words"};
  CHECK(decode_loan(encode(lent))->attention == "words");
  check_whole(encode(lent), decode_loan);
  const auto passed = decode_passage(encode(passage{20, "bytes"}));
  REQUIRE(passed);
  CHECK(passed->kind == 20);
  CHECK(passed->bytes == "bytes");
  CHECK_FALSE(decode_passage("x"));

  welcome w;
  w.problem = {errc::bad_option, "why"};
  w.host = "here";
  w.pid = 7;
  w.up_ms = 9;
  const auto back = decode_welcome(encode(w)).value();
  CHECK(back.problem.code == errc::bad_option);
  CHECK(back.problem.text == "why");
  CHECK(back.host == "here");
  CHECK(back.pid == 7);
  CHECK(back.up_ms == 9);
  check_whole(encode(w), decode_welcome);

  assign a{"job", {}};
  a.faults.hang_at = 5;
  CHECK(decode_assign(encode(a))->faults.hang_at == 5);
  check_whole(encode(a), decode_assign);

  check_whole(encode(lane_news{1, 2, 3, 4, "text"}), decode_lane_news);
  check_whole(encode(parcel{1, 2, "order"}), decode_parcel);
  auto problem = encode(error{errc::interrupted, "text"});
  check_whole(problem, decode_error);
  ++problem.front(); // behind the last code
  CHECK_FALSE(decode_error(problem));
}

TEST_CASE("node letters: an assign carries every fault of lanes, and each of them is one",
          "[node]") {
  CHECK_FALSE(has_lane_faults({}));
  for (const auto which :
       {&fault_plan::throw_every, &fault_plan::poison, &fault_plan::crash_at, &fault_plan::abort_at,
        &fault_plan::hang_at, &fault_plan::oom_at, &fault_plan::garbage_at, &fault_plan::exit_at,
        &fault_plan::sticky_at, &fault_plan::no_memory_at}) {
    assign a{"job", {}};
    a.faults.*which = 5;
    CHECK(has_lane_faults(a.faults));
    CHECK(decode_assign(encode(a))->faults.*which == 5);
  }
  for (const auto which : {&fault_plan::stop_after, &fault_plan::stop_at_naming,
                           &fault_plan::interrupt_after}) { // the coordinator's own
    fault_plan own;
    own.*which = 5;
    CHECK_FALSE(has_lane_faults(own));
  }
}

TEST_CASE("node letters: a manifest comes back as it was, and none with seeds beyond its files",
          "[node]") {
  const manifest good{{{"source/a", 100, false}, {"out", 50, true}},
                      {{0, 0, 100}, {1, 50, 0}, {1, 20, 30}}};
  const auto came = decode_assign(encode(assign{"job", {}, good}));
  REQUIRE(came);
  REQUIRE(came->files);
  CHECK(came->files->files[0].name == "source/a");
  CHECK(came->files->files[0].bytes == 100);
  CHECK(came->files->files[1].written);
  CHECK(came->files->seeds == good.seeds);
  check_whole(encode(assign{"job", {}, good}), decode_assign);
  constexpr auto most = ~std::uint64_t{0};
  for (const auto& bad : {viva::actors::byte_range{2, 0, 0}, {~0u, 0, 0}, {0, 101, 0}, {0, 0, 101},
                          {1, 21, 30}, {1, most, 0}, {1, 20, most - 10}, {1, most, most}}) {
    CAPTURE(bad.file, bad.offset, bad.bytes);
    auto with = good;
    with.seeds.push_back(bad);
    CHECK_FALSE(decode_assign(encode(assign{"job", {}, with})));
  }
}
