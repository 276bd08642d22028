#include "supervision/spawn.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace viva::supervision {
namespace {

/// One line of it, whatever a message holds.
std::string in_brief(std::string text) {
  constexpr std::size_t length_max = 200;
  std::ranges::replace_if(text, [](unsigned char c) { return c < ' '; }, '?');
  if (text.size() <= length_max)
    return text;
  auto cut = length_max;
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80)
    --cut; // not inside a UTF-8 character
  return text.substr(0, cut) + "…";
}

} // namespace

void prepare(caf::scheduled_actor* self) {
  self->set_exception_handler(
    [](caf::scheduled_actor*, std::exception_ptr& thrown) { return reason_of(thrown); });
  self->set_default_handler(
    [](caf::scheduled_actor* who, caf::message_view& what) -> caf::result<caf::message> {
      if (const auto log = spdlog::default_logger())
        log->warn("{} ({}): dropped an unknown message: {}", who->name(), who->id(),
                  in_brief(what.content().stringify()));
      return caf::sec::unexpected_message;
    });
  self->set_down_handler([](caf::scheduled_actor*, caf::down_msg&) {});
}

void speak_for(caf::local_actor* self, std::int32_t process) {
  if (auto* signs = dynamic_cast<vital_signs*>(self))
    signs->speak_for(process);
}

void urge_exit(const caf::actor& who, const caf::actor_addr& from, caf::error reason,
               caf::execution_unit* host) {
  who->enqueue(nullptr, caf::make_message_id(caf::message_priority::high),
               caf::make_message(caf::exit_msg{from, std::move(reason)}), host);
}

} // namespace viva::supervision
