#include "supervision/spawn.hpp"

#include <spdlog/spdlog.h>

namespace viva::supervision {

void prepare(caf::scheduled_actor* self) {
  self->set_exception_handler(
    [](caf::scheduled_actor*, std::exception_ptr& thrown) { return reason_of(thrown); });
  self->set_default_handler(
    [](caf::scheduled_actor* who, caf::message_view& what) -> caf::result<caf::message> {
      if (auto log = spdlog::get("supervision"))
        log->warn("{} ({}): dropped an unknown message: {}", who->name(), who->id(),
                  what.content().stringify());
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
