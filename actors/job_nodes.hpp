#pragma once

// Job nodes: the machines of one job, from the words that name them to when they are given up.

#include "actors/job.hpp"
#include "actors/node/board.hpp"
#include "actors/tree.hpp"

namespace viva::actors {

class job_nodes {
public:
  /// Fails where an address is none, or needs certificates that were not named.
  static expected<job_nodes> of(const job_limits& limits);

  /// Before `network`, where they do not see the job's files: what they are brought.
  expected<void> load(const job_site& site);
  /// Links to all of them, for a tree; off where there are none.
  tree_network network(const site_ptr& site) const;
  /// Why the job cannot go on: every node refused, or none was to be had for --node-timeout, and no
  /// lane is here. code ok: it can.
  error problem() const;
  /// How long lanes of lost nodes may still write into the output.
  std::function<std::chrono::milliseconds()> strays(bool resumed) const;

private:
  std::vector<node::address> x_all;
  std::shared_ptr<node::board> x_board = std::make_shared<node::board>();
  std::chrono::seconds x_timeout{0}, x_stall{0};
  std::optional<node::tls_files> x_security;
  node::tls_ptr x_tls;
  bool x_alone = false, x_same_files = false;
  std::shared_ptr<const node::freight> x_goods;
  std::shared_ptr<node::claims> x_claims;
  std::shared_ptr<node::network> x_threads;
  std::shared_ptr<node::liveness_watch> x_watch;
};

} // namespace viva::actors
