#include "actors/node/meeting.hpp"

#include "actors/node/middleman.hpp"
#include "supervision/reason.hpp"

#include <caf/all.hpp>
#include <caf/io/all.hpp>

#include <algorithm>
#include <atomic>
#include <set>

namespace viva::actors::node {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds knock_patience{1'000}, answer_patience{5'000};
constexpr std::chrono::seconds of_use{10};

/// One who meets a node, until it answers.
struct meeting {
  address where;
  hello::wish wants;
  stamp as;
  std::string build = build_words(kernels::path::reference);
  std::function<void(expected<met_node>)> then;

  void lose(errc code, std::string why) const {
    then(fail(code, std::move(why)));
  }
};
using meeting_ptr = std::shared_ptr<meeting>;

/// No two meetings of this process have the same number, whomever they meet.
std::uint64_t next_join() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

void take_welcome(const meeting_ptr& what, const std::string& answer, const caf::actor& session) {
  const auto from = decode_letter(answer);
  const auto said = from && from->what == word::welcome ? decode_welcome(from->body)
                                                        : std::nullopt;
  if (!said)
    return what->lose(errc::bad_option, "it answers, but not as a node of this version does");
  if (said->build != what->build)
    return what->lose(errc::bad_option, "it is another build (" + said->build + "; this is "
                                          + what->build + "); run the same viva everywhere");
  if (said->problem.code != errc::ok)
    return what->then(tl::unexpected(said->problem));
  if (!session || from->of.incarnation == 0)
    return what->lose(errc::fault, "it gave no session");
  what->as.incarnation = from->of.incarnation;
  what->then(met_node{what->as, session, said->lanes});
}

void say_hello(caf::event_based_actor* self, const meeting_ptr& what,
               const caf::actor& reception) {
  const hello words{what->build, what->wants};
  self
    ->request(reception, answer_patience, encode(letter{word::hello, what->as, encode(words)}))
    .then([what](const std::string& answer,
                 const caf::actor& session) { take_welcome(what, answer, session); },
          [what](const caf::error& why) {
            what->lose(errc::fault, "no answer (" + supervision::to_text(why) + ")");
          });
}

} // namespace

void meet_node(caf::event_based_actor* self, const address& where, hello::wish wants,
               std::function<void(expected<met_node>)> then) {
  auto what = std::make_shared<meeting>();
  what->where = where;
  what->wants = wants;
  what->as = {own_incarnation(), 0, next_join()};
  what->then = std::move(then);
  if (auto there = knock(where, knock_patience); !there)
    return what->then(tl::unexpected(there.error()));
  self
    ->request(connector(self->system()), answer_patience, caf::connect_atom::value, where.host,
              where.port)
    .then(
      [self, what](const caf::node_id&, const caf::strong_actor_ptr& who,
                   const std::set<std::string>&) {
        if (who)
          say_hello(self, what, caf::actor_cast<caf::actor>(who));
        else
          what->lose(errc::fault, "nobody receives there");
      },
      [what](const caf::error& why) {
        what->lose(errc::fault, "no connection (" + supervision::to_text(why) + ")");
      });
}

address bulk_port(address of) {
  of.port += 1;
  return of;
}

address liveness_port(address of) {
  of.port += 2;
  return of;
}

milliseconds pauses::next() {
  if (x_joined && std::chrono::steady_clock::now() - *x_joined > of_use)
    x_failures = 0;
  x_joined.reset();
  const auto longest = std::min(again_max, again_min * (1 << std::min(x_failures, 6u)));
  ++x_failures;
  return milliseconds{
    std::uniform_int_distribution<long>{longest.count() / 2, longest.count()}(x_dice)};
}

} // namespace viva::actors::node
