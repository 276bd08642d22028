#include "actors/job_nodes.hpp"

#include "actors/node/middleman.hpp"

namespace viva::actors {

expected<job_nodes> job_nodes::of(const job_limits& limits) {
  job_nodes made;
  auto all = node::parse_addresses(limits.nodes);
  if (!all)
    return tl::unexpected(all.error());
  made.x_all = std::move(*all);
  made.x_timeout = std::chrono::seconds{limits.node_timeout_seconds};
  made.x_alone = limits.lanes == 0;
  if (made.x_all.empty())
    return made;
  if (!limits.shared_fs)
    return fail(errc::bad_option, "--nodes: work on files that every node sees by the same names "
                                  "only; say --shared-fs where they do");
  auto security = node::security_of(made.x_all, limits.tls, limits.insecure);
  if (!security)
    return tl::unexpected(security.error());
  made.x_security = std::move(*security);
  return made;
}

tree_network job_nodes::network(const site_ptr& site) const {
  tree_network net;
  net.on = !x_all.empty();
  net.security = x_security;
  for (const auto& where : x_all)
    net.links.push_back({where, site, {}, x_board, {}});
  return net;
}

error job_nodes::problem() const {
  if (x_all.empty() || !x_alone)
    return {};
  if (const auto why = x_board->all_refused(); !why.empty())
    return {errc::job_failed, "no node takes the job; " + why + ". What is done is kept: run the "
                                                                "same command again to resume"};
  const auto since = x_board->alone_since();
  if (x_timeout.count() > 0 && since && node::board::clock::now() - *since > x_timeout)
    return {errc::job_failed,
            "no node was to be had for " + std::to_string(x_timeout.count()) + " s ("
              + x_board->text() + "). What is done is kept: run the same command again to resume"};
  return {};
}

} // namespace viva::actors
