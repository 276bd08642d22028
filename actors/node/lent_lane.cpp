#include "actors/node/lent_lane.hpp"

#include "actors/node/reception.hpp"
#include "kernels/bf16_unit.hpp"
#include "kernels/target.hpp"
#include "supervision/reason.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

namespace viva::actors::node {
namespace {

using self_ptr = caf::stateful_actor<lent_lane_state>*;

struct loan_due {};
constexpr std::chrono::seconds loan_patience{30};

} // namespace
} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::loan_due)

namespace viva::actors::node {

lent_lane_state::~lent_lane_state() {
  if (regions)
    options.facts->stores->server->close_job(
      {options.with.incarnation, options.with.epoch, options.with.join});
}

namespace {

void tell(self_ptr self, word what, std::string body) {
  const auto& options = self->state.options;
  self->send(options.link, encode(letter{what, options.with, std::move(body)}));
}

void distrust(self_ptr self, const char* why) {
  spdlog::warn("a pipeline spoke nonsense: {}", why);
  self->quit(supervision::make_error(supervision::fault::protocol, why));
}

/// It ends, and says of what.
void give_up(self_ptr self, const caf::error& reason) {
  auto [fault, words] = supervision::plain(reason);
  spdlog::warn("a lane that was lent ends: {}", supervision::to_text(reason));
  const auto mark = static_cast<std::uint32_t>(self->state.mark);
  tell(self, word::lane_down, encode(lane_news{0, 0, fault, mark, std::move(words)}));
  self->quit(reason);
}

bool send_frame(self_ptr self, const supervision::frame& what) {
  auto bytes = unpack(what);
  if (bytes)
    tell(self, word::frame, encode(passage{what.kind, std::move(*bytes)}));
  return bytes.has_value();
}

void lend(self_ptr self, const loan& what) {
  auto& state = self->state;
  if (what.attention != attention_words()) {
    tell(self, word::assigned,
         encode(error{errc::bad_option, "its processor computes attention in other steps ("
                                          + attention_words() + ", not " + what.attention
                                          + "): bytes would depend on the node"}));
    return self->quit();
  }
  const auto& [epoch, incarnation, join] = state.options.with;
  const auto& facts = *state.options.facts;
  state.regions = std::make_shared<region_store>(facts.limits.memory_bytes_max,
                                                 facts.tensor_bytes);
  facts.stores->server->open_job(
    {incarnation, epoch, join},
    [regions = state.regions](access how, const range& where) {
      return regions->touch(how, where);
    });
  state.work = std::make_unique<tensor_ward>(
    tensor_ward::owner{[self](supervision::frame frame) { return send_frame(self, frame); },
                       [self](std::uint64_t order) {
                         if (order != 0)
                           self->state.mark = order;
                       },
                       [] {}, false});
  tell(self, word::assigned, encode(error{}));
}

/// False where it makes no sense.
expected<bool> take_frame(self_ptr self, passage&& what) {
  auto& state = self->state;
  supervision::frame frame{what.kind, std::move(what.bytes), {}};
  if (what.kind == lane_kind::share) {
    const auto note = decode_region(frame.payload);
    if (!note)
      return false;
    auto file = state.regions->open(note->id, note->bytes);
    if (!file)
      return tl::unexpected(file.error());
    frame.attached = std::move(*file);
  } else if (what.kind == lane_kind::forget) {
    if (const auto note = decode_region(frame.payload))
      state.regions->forget(note->id);
  } else if (what.kind != lane_kind::tensors) {
    return false;
  }
  if (!state.work->take(frame))
    return false;
  return state.regions->weigh().map([] { return true; });
}

void take_letter(self_ptr self, const std::string& bytes) {
  auto from = decode_letter(bytes);
  if (!from || from->of != self->state.options.with)
    return;
  if (from->what == word::lend && !self->state.regions) {
    const auto what = decode_loan(from->body);
    return what ? lend(self, *what) : distrust(self, "no loan");
  }
  auto what = from->what == word::frame ? decode_passage(from->body) : std::nullopt;
  if (!what || !self->state.regions)
    return distrust(self, "no letter for a lane");
  try {
    const auto fine = take_frame(self, std::move(*what));
    if (!fine)
      give_up(self, supervision::make_error(supervision::fault::oom, fine.error().text));
    else if (!*fine)
      distrust(self, "an order that makes no sense");
  } catch (...) {
    give_up(self, supervision::reason_of(std::current_exception()));
  }
}

} // namespace

std::string attention_words() {
  return std::string(kernels::simd_target()) + ", bf16 unit "
         + std::to_string(static_cast<int>(kernels::bf16_unit_in_use()));
}

caf::behavior lent_lane(self_ptr self, session_options options) {
  self->state.options = std::move(options);
  self->monitor<caf::message_priority::high>(self->state.options.link);
  self->set_down_handler([self](const caf::down_msg&) { self->quit(); });
  self->delayed_send(self, loan_patience, loan_due{});
  return {
    [self](const std::string& bytes) { take_letter(self, bytes); },
    [self](loan_due) {
      if (!self->state.regions)
        self->quit();
    },
    [self](leave) { tell(self, word::draining, {}); },
  };
}

} // namespace viva::actors::node
