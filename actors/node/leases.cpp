#include "actors/node/leases.hpp"

#include <utility>

namespace viva::actors::node {

expected<lease_ptr> leases::grant(std::uint64_t epoch, std::uint64_t join, lease::time since) {
  auto made = lease::make(since + lease_length);
  if (!made)
    return tl::unexpected(made.error());
  const std::lock_guard hold{x_guard};
  if (!x_all.try_emplace({epoch, join}, entry{*made}).second)
    return fail(errc::interrupted, "another session has this meeting's job; come in anew");
  return lease_ptr{*made};
}

void leases::heard(std::uint64_t epoch, std::uint64_t join, lease::time said) {
  const std::lock_guard hold{x_guard};
  if (const auto found = x_all.find({epoch, join}); found != x_all.end())
    found->second.what->extend(said + lease_length);
}

void leases::end(std::uint64_t epoch, std::uint64_t join, lease::time now) {
  const std::lock_guard hold{x_guard};
  if (const auto found = x_all.find({epoch, join}); found != x_all.end()) {
    x_ended += found->second.held && !found->second.what->holds(now) ? 1 : 0;
    found->second.what->end();
    x_all.erase(found);
  }
}

leases::news leases::look(lease::time now) {
  const std::lock_guard hold{x_guard};
  news seen{std::exchange(x_ended, 0), 0};
  for (auto& [which, each] : x_all) {
    const bool holds = each.what->holds(now);
    if (holds != std::exchange(each.held, holds))
      ++(holds ? seen.hold_again : seen.ran_out);
  }
  x_ran_out += seen.ran_out;
  return seen;
}

std::uint64_t leases::ran_out() const {
  const std::lock_guard hold{x_guard};
  return x_ran_out;
}

} // namespace viva::actors::node
