#include "actors/job_nodes.hpp"

#include "actors/assignment.hpp"
#include "actors/node/middleman.hpp"

namespace viva::actors {

expected<job_nodes> job_nodes::of(const job_limits& limits) {
  job_nodes made;
  auto all = node::parse_addresses(limits.nodes);
  if (!all)
    return tl::unexpected(all.error());
  made.x_all = std::move(*all);
  made.x_timeout = std::chrono::seconds{limits.node_timeout_seconds};
  made.x_stall = std::chrono::seconds{limits.stall_seconds};
  made.x_alone = limits.lanes == 0 && limits.devices.empty();
  if (made.x_all.empty())
    return made;
  made.x_same_files = limits.shared_fs;
  auto security = node::security_of(made.x_all, limits.tls, limits.insecure);
  if (!security)
    return tl::unexpected(security.error());
  made.x_security = std::move(*security);
  if (made.x_security) {
    auto loaded = node::load_tls(*made.x_security);
    if (!loaded)
      return tl::unexpected(loaded.error());
    made.x_tls = std::move(*loaded);
  }
  made.x_watch = std::make_shared<node::liveness_watch>(
    node::liveness_options{.security = made.x_tls, .times = {}});
  return made;
}

expected<void> job_nodes::load(const job_site& site) {
  if (x_all.empty() || x_same_files || site.place.named())
    return {};
  const auto what = decode_assignment(site.assignment);
  if (!what)
    return tl::unexpected(what.error());
  auto goods = node::load_freight(*what, site.work);
  if (!goods)
    return tl::unexpected(goods.error());
  x_goods = std::move(*goods);
  x_threads = std::make_shared<node::network>();
  x_claims = std::make_shared<node::claims>(site.work.shards.size());
  return {};
}

tree_network job_nodes::network(const site_ptr& site) const {
  tree_network net;
  net.on = !x_all.empty() && !site->place.named(); // then nothing is left to be computed
  if (!net.on)
    return net;
  net.security = x_security;
  for (const auto& where : x_all)
    net.links.push_back({where, site, {}, x_board, {}, x_watch, x_goods, x_threads, x_tls,
                         x_claims, x_stall});
  return net;
}

std::function<std::chrono::milliseconds()> job_nodes::strays(bool resumed) const {
  if (!x_same_files)
    return {};
  if (resumed) // what an earlier life of the job gave them to do
    x_board->let_go(node::board::clock::now() + node::liveness_times{}.lost_after);
  return [lines = x_board] {
    return std::chrono::ceil<std::chrono::milliseconds>(lines->written_until()
                                                        - node::board::clock::now());
  };
}

error job_nodes::problem() const {
  if (x_all.empty() || !x_alone)
    return {};
  if (const auto why = x_board->all_refused(); why.code != errc::ok)
    return {why.code, "no node takes the job; " + why.text
                        + (why.code == errc::unreadable // which says so by itself
                             ? ""
                             : ". What is done is kept: run the same command again to resume")};
  const auto since = x_board->alone_since();
  if (x_timeout.count() > 0 && since && node::board::clock::now() - *since > x_timeout)
    return {errc::job_failed,
            "no node was to be had for " + std::to_string(x_timeout.count()) + " s ("
              + x_board->text() + "). What is done is kept: run the same command again to resume"};
  return {};
}

} // namespace viva::actors
