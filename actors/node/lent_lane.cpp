#include "actors/node/lent_lane.hpp"

#include "actors/known_answer.hpp"
#include "actors/lane_frames.hpp"
#include "actors/node/reception.hpp"
#include "actors/pipeline/patience.hpp"
#include "actors/pipeline/tensor_frames.hpp"
#include "kernels/bf16_unit.hpp"
#include "kernels/target.hpp"
#include "supervision/reason.hpp"

#include <caf/all.hpp>
#include <spdlog/spdlog.h>

namespace viva::actors::node {
namespace {

using self_ptr = caf::stateful_actor<lent_lane_state>*;

struct loan_due {};
struct lent_ready {};
struct lent_frame { supervision::frame what; };
struct lent_end { supervision::process_end how; };
constexpr std::chrono::seconds loan_patience{30};

} // namespace
} // namespace viva::actors::node

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::loan_due)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lent_ready)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lent_frame)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(viva::actors::node::lent_end)

namespace viva::actors::node {

lent_lane_state::~lent_lane_state() {
  work = nullptr; // a process may write until it is dead, into what nobody reads any more
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

/// It ends, and says of what; before it was lent, that it cannot be.
void give_up(self_ptr self, const caf::error& reason, std::uint64_t mark) {
  auto [fault, words] = supervision::plain(reason);
  spdlog::warn("a lane that was lent ends: {}", supervision::to_text(reason));
  if (self->state.ready)
    tell(self, word::lane_down,
         encode(lane_news{0, 0, fault, static_cast<std::uint32_t>(mark), std::move(words)}));
  else
    tell(self, word::assigned, encode(error{errc::fault, "its lane did not start: " + words}));
  self->quit(reason);
}

void lend(self_ptr self, const loan& asked) {
  auto& state = self->state;
  const auto& claimed = state.options.facts->claimed_attention;
  const auto own = claimed.empty() ? attention_words() : claimed;
  if (asked.attention != own) {
    tell(self, word::assigned,
         encode(error{errc::bad_option, "its processor computes attention in other steps ("
                                          + own + ", not " + asked.attention
                                          + "): bytes would depend on the node"}));
    return self->quit();
  }
  const auto& [epoch, incarnation, join] = state.options.with;
  const auto& facts = *state.options.facts;
  state.regions = std::make_shared<region_store>(facts.limits.memory_bytes_max,
                                                 facts.tensors);
  facts.stores->server->open_job(
    {incarnation, epoch, join},
    [regions = state.regions](access how, const range& where) {
      return regions->touch(how, where);
    });
  state.work = facts.tensor_lane();
  const auto me = self->address(); // weak: a process may outlive it
  const auto post = [me](auto what) {
    if (const auto who = caf::actor_cast<caf::actor>(me); who)
      caf::anon_send<caf::message_priority::high>(who, std::move(what)); // before orders that wait
  };
  state.work->attach({.on_ready = [post] { post(lent_ready{}); },
                      .on_frame = [post](supervision::frame&& what) {
                        post(lent_frame{std::move(what)});
                      },
                      .on_end = [post](const supervision::process_end& how) {
                        post(lent_end{how});
                      }});
}

caf::error no_memory(const error& why) {
  return supervision::make_error(supervision::fault::oom, why.text);
}

/// A process that does not move on is the node's affair, whatever its borrower is: it is killed.
void expect_progress(lent_lane_state& state, const std::vector<tensor_order>& orders) {
  const std::chrono::seconds least{state.options.facts->limits.stall_seconds};
  if (state.out++ == 0)
    state.patience = {};
  for (const auto& order : orders)
    if (const auto limit = patience_with(order, least); limit > state.patience) {
      state.patience = limit;
      state.work->expect_progress(limit);
    }
}

/// Where there is no memory for it, or was none for a region, it counts against its first order: or
/// it would be sent again for ever.
bool take_orders(self_ptr self, passage&& what) {
  auto& state = self->state;
  const auto orders = decode_tensors(what.bytes);
  if (!orders)
    return false;
  auto frame = state.no_region.code == errc::ok ? pack(what.kind, std::move(what.bytes))
                                                : tl::unexpected(state.no_region);
  if (frame) {
    expect_progress(state, *orders);
    state.work->send(std::move(*frame));
  } else {
    give_up(self, no_memory(frame.error()), orders->front().number);
  }
  return true;
}

/// False where it makes no sense.
bool take_frame(self_ptr self, passage&& what) {
  auto& state = self->state;
  if (what.kind == lane_kind::tensors)
    return take_orders(self, std::move(what));
  auto note = decode_region(what.bytes);
  if (!note)
    return false;
  supervision::frame frame{what.kind, std::move(what.bytes), {}};
  if (what.kind == lane_kind::share) {
    auto file = state.regions->open(note->id, note->bytes);
    if (!file) {
      state.no_region = file.error();
      return true;
    }
    note->holes = true;
    frame.payload = encode(*note);
    frame.attached = std::move(*file);
  } else if (what.kind == lane_kind::forget) {
    state.regions->forget(note->id);
  } else {
    return false;
  }
  state.work->send(std::move(frame));
  return true;
}

void take_receipts(self_ptr self, const supervision::frame& what) {
  auto& state = self->state;
  if (state.out != 0 && --state.out == 0)
    state.work->expect_progress(std::chrono::milliseconds{0});
  auto bytes = unpack(what);
  if (!bytes)
    return give_up(self, no_memory(bytes.error()), 0);
  if (const auto fine = state.regions->weigh(); !fine) {
    const auto done = decode_encoded(*bytes);
    return give_up(self, no_memory(fine.error()), done ? done->front().number : 0);
  }
  tell(self, word::frame, encode(passage{what.kind, std::move(*bytes)}));
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
  if (!take_frame(self, std::move(*what)))
    distrust(self, "an order that makes no sense");
}

void take_end(self_ptr self, const supervision::process_end& how) {
  give_up(self,
          how.reason ? how.reason
                     : supervision::make_error(supervision::fault::early_exit, "it left unasked"),
          how.mark);
}

} // namespace

std::string attention_words() {
  return std::string(kernels::simd_target()) + ", bf16 unit "
         + std::to_string(static_cast<int>(kernels::bf16_unit_in_use())) + ", answer "
         + attention_answer();
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
    [self](lent_ready) {
      self->state.ready = true;
      tell(self, word::assigned, encode(error{}));
    },
    [self](const lent_frame& heard) { take_receipts(self, heard.what); },
    [self](const lent_end& ended) { take_end(self, ended.how); },
  };
}

} // namespace viva::actors::node
