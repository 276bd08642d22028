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
  seen.strangers = said->strangers;
  seen.garbage = said->garbage;
  seen.fenced = said->fenced;
  seen.up_seconds = static_cast<double>(said->up_ms) / 1e3;
  seen.same_build = said->build == own_build;
  return seen;
}

/// Who receives there, or why nobody does.
expected<caf::actor> reception_at(caf::scoped_actor& self, const address& where) {
  if (auto there = knock(where, patience); !there)
    return tl::unexpected(there.error());
  expected<caf::actor> found = fail(errc::fault, "nobody receives there");
  self->request(connector(self->system()), patience, caf::connect_atom::value, where.host,
                where.port)
    .receive(
      [&](const caf::node_id&, const caf::strong_actor_ptr& who, const std::set<std::string>&) {
        if (who)
          found = caf::actor_cast<caf::actor>(who);
      },
      [&](const caf::error& why) {
        found = fail(errc::fault, "no answer (" + supervision::to_text(why) + ")");
      });
  return found;
}

/// What it says to one who wants to know how it is.
expected<std::string> ask(caf::scoped_actor& self, const caf::actor& reception,
                          const std::string& own_build) {
  const letter asks{word::hello, {own_incarnation(), 0, 0},
                    encode(hello{own_build, hello::wish::look})};
  expected<std::string> said;
  self->request(reception, patience, encode(asks))
    .receive([&](const std::string& answer, const caf::actor&) { said = answer; },
             [&](const caf::error& why) {
               said = fail(errc::fault, "no answer (" + supervision::to_text(why) + ")");
             });
  return said;
}

node_view look(caf::scoped_actor& self, const address& where, const std::string& own_build) {
  const auto said = reception_at(self, where).and_then([&](const caf::actor& reception) {
    return ask(self, reception, own_build);
  });
  if (said)
    return view_of(where, *said, own_build);
  node_view none;
  none.address = where.text();
  none.problem = said.error().text;
  return none;
}

/// `work(self, addresses)` with connections as `limits` has them.
template <class Work>
auto connected(const job_limits& limits, const Work& work)
  -> std::invoke_result_t<Work, caf::scoped_actor&, const std::vector<address>&> {
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
  return work(self, *all);
}

} // namespace

expected<std::vector<node_view>> look_at_nodes(const job_limits& limits) {
  using answer = expected<std::vector<node_view>>;
  return connected(limits, [](caf::scoped_actor& self, const auto& all) -> answer {
    std::vector<node_view> seen;
    for (const auto& where : all)
      seen.push_back(look(self, where, build_words(kernels::path::reference)));
    return seen;
  });
}

expected<void> watch_node(const job_limits& limits,
                          const std::function<bool(const node_view&)>& again) {
  return connected(limits, [&again](caf::scoped_actor& self, const auto& all) -> expected<void> {
    const auto reception = reception_at(self, all.front());
    if (!reception)
      return tl::unexpected(reception.error());
    const auto build = build_words(kernels::path::reference);
    while (true) {
      const auto said = ask(self, *reception, build);
      if (!said)
        return tl::unexpected(said.error());
      if (const auto seen = view_of(all.front(), *said, build); !again(seen))
        return {};
    }
  });
}

expected<std::vector<double>> time_questions(const job_limits& limits, std::uint32_t times) {
  using answer = expected<std::vector<double>>;
  return connected(limits, [times](caf::scoped_actor& self, const auto& all) -> answer {
    const auto reception = reception_at(self, all.front());
    if (!reception)
      return tl::unexpected(reception.error());
    const auto build = build_words(kernels::path::reference);
    std::vector<double> took;
    for (std::uint32_t i = 0; i < times; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      if (const auto said = ask(self, *reception, build); !said)
        return tl::unexpected(said.error());
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
      took.push_back(seconds.count());
    }
    return took;
  });
}

} // namespace viva
