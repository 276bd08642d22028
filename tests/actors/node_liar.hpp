#pragma once

// A liar: a node that shows signs of life and lets everybody in, and whose sessions say what a test
// likes.

#include "actors/messages.hpp"
#include "actors/node/letters.hpp"
#include "actors/node/liveness.hpp"
#include "actors/node/middleman.hpp"
#include "tests/support/catch.hpp"

#include <caf/all.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>

namespace viva::tests {

namespace node = actors::node;

class liar {
public:
  using say = std::function<void(node::word, std::string)>;
  /// What a session does with each letter; on any thread, one letter of a session at a time.
  using manner = std::function<void(const node::letter&, const say&)>;

  /// `lanes`: as many as its welcome claims.
  explicit liar(manner how, std::uint32_t lanes = 2)
      : x_how(std::move(how)), x_lanes(lanes) {
    node::load_middleman(x_config, std::nullopt);
    x_system = std::make_unique<caf::actor_system>(x_config);
    x_door = x_system->spawn([this](caf::event_based_actor* self) { return receive(self); });
    for (int tries = 50; x_port == 0; --tries) { // its third port decides, the first may be taken
      REQUIRE(tries > 0);
      auto life = node::liveness_server::open({"127.0.0.1", 0}, incarnation, {},
                                              [](std::uint64_t, node::life) {});
      REQUIRE(life);
      const auto first = static_cast<std::uint16_t>((*life)->port() - 2);
      if (node::publish(x_door, {"127.0.0.1", first})) {
        x_life = std::move(*life);
        x_port = first;
      }
    }
  }
  liar(const liar&) = delete;
  ~liar() {
    {
      caf::scoped_actor self{*x_system};
      self->send_exit(x_door, caf::exit_reason::kill);
      self->wait_for(x_door); // nobody comes in any more
    }
    x_door = nullptr;
    for (const auto& each : x_sessions)
      caf::anon_send_exit(each, caf::exit_reason::kill);
    x_sessions.clear();
  }

  node::address where() const {
    return {"127.0.0.1", x_port};
  }
  std::string address() const {
    return where().text();
  }
  /// How often somebody came in.
  int met() const {
    return x_met;
  }

private:
  static constexpr std::uint64_t incarnation = 77;

  caf::behavior receive(caf::event_based_actor* self) {
    return {[this, self](const std::string& bytes) -> caf::result<std::string, caf::actor> {
      const auto from = node::decode_letter(bytes);
      const node::stamp with{from->of.epoch, incarnation, from->of.join};
      const auto link = caf::actor_cast<caf::actor>(self->current_sender());
      node::welcome said;
      said.build = node::build_words(kernels::path::simd);
      said.lanes = x_lanes;
      const auto made = self->spawn([this, with, link](caf::event_based_actor* me) {
        return caf::behavior{[this, me, with, link](const std::string& heard) {
          if (const auto what = node::decode_letter(heard))
            x_how(*what, [&](node::word word, std::string body) {
              me->send(link, encode(node::letter{word, with, std::move(body)}));
            });
        }};
      });
      {
        const std::lock_guard hold(x_guard);
        x_sessions.insert(made);
      }
      ++x_met;
      return {encode(node::letter{node::word::welcome, with, encode(said)}), made};
    }};
  }

  manner x_how;
  std::uint32_t x_lanes;
  std::atomic<int> x_met{0};
  std::uint16_t x_port = 0;
  std::mutex x_guard;
  std::set<caf::actor> x_sessions;
  caf::actor_system_config x_config;
  std::unique_ptr<caf::actor_system> x_system;
  std::unique_ptr<node::liveness_server> x_life;
  caf::actor x_door;
};

/// The job is taken, whatever it is.
inline void take_job(const liar::say& say) {
  say(node::word::assigned, node::encode(error{}));
}

/// This life of a lane begins.
inline void bring_lane(const liar::say& say, std::uint32_t lane, std::uint32_t life) {
  say(node::word::lane_up, encode(node::lane_news{lane, life, 0, actors::no_shard, {}}));
}

} // namespace viva::tests
