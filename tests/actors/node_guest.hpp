#pragma once

// A guest: speaks to a real node as a coordinator does, and says what it likes.

#include "actors/node/liveness.hpp"
#include "actors/node/meeting.hpp"
#include "actors/node/middleman.hpp"
#include "tests/actors/node_work.hpp"

#include <caf/all.hpp>

#include <atomic>

namespace viva::tests {

namespace node = actors::node;

class guest {
public:
  using wish = node::hello::wish;

  /// Comes in, where it may.
  explicit guest(const std::string& address, wish wants = wish::job)
      : x_where(node::parse_address(address).value()) {
    node::load_middleman(x_config, std::nullopt);
    x_system = std::make_unique<caf::actor_system>(x_config);
    x_self = std::make_unique<caf::scoped_actor>(*x_system);
    self()
      ->request(node::connector(*x_system), patience, caf::connect_atom::value, x_where.host,
                x_where.port)
      .receive([&](const caf::node_id&, const caf::strong_actor_ptr& who,
                   const std::set<std::string>&) { x_door = caf::actor_cast<caf::actor>(who); },
               [](caf::error&) {});
    REQUIRE(x_door);
    meet(wants);
  }

  /// Says hello, once more; afterwards `with` and `session` are of this meeting.
  node::welcome meet(wish wants) {
    static std::atomic<std::uint64_t> meetings{5}; // that of a guest who left may be known still
    const auto said = say_hello(wants, ++meetings);
    with = said.as;
    session = said.session;
    if (session) {
      self()->monitor(session);
      begin_to_beat();
    }
    return said.words;
  }
  struct answered {
    node::welcome words;
    node::stamp as;
    caf::actor session;
  };
  /// The same by a number of one's own, and nothing of it is kept.
  answered say_hello(wish wants, std::uint64_t join) {
    const node::hello who{node::build_words(kernels::path::reference), wants};
    std::optional<answered> said;
    self()
      ->request(x_door, patience,
                encode(node::letter{node::word::hello, {5, 0, join}, encode(who)}))
      .receive(
        [&](const std::string& answer, const caf::actor& made) {
          const auto from = node::decode_letter(answer).value();
          said = {node::decode_welcome(from.body).value(), from.of, made};
        },
        [](caf::error&) {});
    REQUIRE(said);
    return *said;
  }
  void begin_to_beat() {
    const actors::node::job_key who{with.incarnation, with.epoch, with.join};
    x_watched = x_eye.watch(node::liveness_port(x_where), who, [](node::life) {});
  }
  void fall_silent() {
    x_eye.forget(x_watched);
  }

  void say(node::word what, const std::string& body) {
    say(with, what, body);
  }
  void say(node::stamp as, node::word what, const std::string& body) {
    self()->send(session, encode(node::letter{what, as, body}));
  }
  /// The next letter within so many milliseconds.
  std::optional<node::letter> hear(int ms) {
    std::optional<node::letter> heard;
    self()->receive([&](const std::string& bytes) { heard = node::decode_letter(bytes); },
                    [&](const caf::down_msg&) { ended = true; },
                    caf::after(std::chrono::milliseconds{ms}) >> [] {});
    return heard;
  }
  /// Whether its session ends within 10 s, whatever it says before.
  bool is_turned_out() {
    while (!ended && hear(10'000)) {
    }
    return ended;
  }
  /// Gives it a job, and waits for its lanes, of which a node_process has two; the last one.
  node::lane_news begin(const std::string& assignment) {
    say(node::word::assign, encode(node::assign{assignment, {}}));
    return hear_lanes();
  }
  node::lane_news hear_lanes() {
    node::lane_news lane;
    for (int lanes = 0; lanes < 2;) {
      const auto heard = hear(10'000);
      REQUIRE(heard);
      if (heard->what != node::word::lane_up)
        continue;
      lane = node::decode_lane_news(heard->body).value();
      ++lanes;
    }
    return lane;
  }

private:
  static constexpr std::chrono::seconds patience{10};
  caf::scoped_actor& self() {
    return *x_self;
  }
  node::address x_where;
  node::liveness_watch x_eye;
  caf::actor_system_config x_config;
  std::unique_ptr<caf::actor_system> x_system;
  std::unique_ptr<caf::scoped_actor> x_self;
  caf::actor x_door;
  std::uint64_t x_watched = 0;

public:
  node::stamp with;
  caf::actor session; ///< Null where it was refused.
  bool ended = false;
};

} // namespace viva::tests
