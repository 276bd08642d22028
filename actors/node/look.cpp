#include "actors/node/look.hpp"

#include "actors/node/letters.hpp"
#include "actors/node/middleman.hpp"
#include "supervision/reason.hpp"

#include <caf/all.hpp>

#include <set>

namespace viva {
namespace {

using namespace actors::node;

constexpr std::chrono::seconds patience{3};

node_view view_of(const address& where, const std::string& answer, const std::string& own_build) {
  node_view seen;
  seen.address = where.text();
  const auto from = decode_letter(answer);
  const auto said = from && from->what == word::welcome ? decode_welcome(from->body)
                                                        : std::nullopt;
  if (!said) {
    seen.problem = "it answers, but not as a node of this version does";
    return seen;
  }
  seen.host = said->host;
  seen.build = said->build;
  seen.pid = said->pid;
  seen.lanes = said->lanes;
  seen.jobs = said->jobs;
  seen.restarts = said->restarts;
  seen.shards = said->shards;
  seen.up_seconds = static_cast<double>(said->up_ms) / 1e3;
  seen.same_build = said->build == own_build;
  return seen;
}

node_view look(caf::scoped_actor& self, const address& where, const std::string& own_build) {
  node_view seen;
  seen.address = where.text();
  if (auto there = knock(where, patience); !there) {
    seen.problem = there.error().text;
    return seen;
  }
  const auto failed = [&](caf::error& why) {
    seen.problem = "no answer (" + supervision::to_text(why) + ")";
  };
  caf::actor reception;
  self->request(connector(self->system()), patience, caf::connect_atom::value, where.host,
                where.port)
    .receive(
      [&](const caf::node_id&, const caf::strong_actor_ptr& who, const std::set<std::string>&) {
        if (who)
          reception = caf::actor_cast<caf::actor>(who);
        else
          seen.problem = "nobody receives there";
      },
      failed);
  if (!reception)
    return seen;
  const letter asks{word::hello, {own_incarnation(), 0, 0},
                    encode(hello{own_build, hello::wish::look})};
  self->request(reception, patience, encode(asks))
    .receive([&](const std::string& answer,
                 const caf::actor&) { seen = view_of(where, answer, own_build); },
             failed);
  return seen;
}

} // namespace

expected<std::vector<node_view>> look_at_nodes(const job_limits& limits) {
  const auto all = parse_addresses(limits.nodes);
  if (!all)
    return tl::unexpected(all.error());
  const auto security = security_of(*all, limits.tls, limits.insecure);
  if (!security)
    return tl::unexpected(security.error());
  caf::actor_system_config config;
  const auto kept = load_middleman(config, *security);
  caf::actor_system system{config};
  caf::scoped_actor self{system};
  std::vector<node_view> seen;
  for (const auto& where : *all)
    seen.push_back(look(self, where, build_words(kernels::path::reference)));
  return seen;
}

} // namespace viva
