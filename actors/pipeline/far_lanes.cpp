#include "actors/pipeline/far_lanes.hpp"

#include "actors/node/far_lane.hpp"
#include "actors/node/middleman.hpp"
#include "actors/node/reception.hpp"
#include "actors/pipeline.hpp"

#include <caf/actor_system_config.hpp>

#include <algorithm>
#include <condition_variable>
#include <mutex>

namespace viva::actors {
namespace {

using clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds first_patience{10'000}, others_patience{1'000}, look_every{2},
  watch_every{200};

} // namespace

struct far_lanes::parts {
  std::optional<node::tls_files> security;
  node::kept_files certificates;
  std::vector<node::far_node> nodes;
  std::chrono::seconds timeout{0};

  error refusal() const {
    const auto refused = nodes.front().nodes->all_refused();
    return refused.code == errc::ok
             ? error{}
             : error{errc::bad_option, "no node takes the work; " + refused.text};
  }
  /// Why there is nothing to wait for; code ok: there is.
  error problem() const {
    const auto& board = *nodes.front().nodes;
    if (auto why = refusal(); why.code != errc::ok)
      return why;
    const auto since = board.alone_since();
    if (timeout.count() > 0 && since && node::board::clock::now() - *since > timeout)
      return {errc::fault, "no node was to be had for " + std::to_string(timeout.count()) + " s ("
                             + board.text() + "); start one (viva node) and try again"};
    return {};
  }
};

far_lanes::far_lanes(std::unique_ptr<parts> made) : x_parts(std::move(made)) {
}
far_lanes::~far_lanes() = default;

expected<std::unique_ptr<far_lanes>> far_lanes::of(const pipeline_options& options) {
  const auto all = node::parse_addresses(options.nodes);
  if (!all)
    return tl::unexpected(all.error());
  if (options.lanes > node::sessions_max)
    return fail(errc::bad_option, "a node lends " + std::to_string(node::sessions_max)
                                    + " lanes at most, not " + std::to_string(options.lanes));
  auto made = std::make_unique<parts>();
  auto files = node::security_of(*all, options.tls, options.insecure);
  if (!files)
    return tl::unexpected(files.error());
  made->security = std::move(*files);
  auto security = made->security ? node::load_tls(*made->security) : expected<node::tls_ptr>{};
  if (!security)
    return tl::unexpected(security.error());
  node::far_node node;
  node.nodes = std::make_shared<node::board>();
  node.watch = std::make_shared<node::liveness_watch>(
    node::liveness_options{.security = *security, .times = {}});
  node.threads = std::make_shared<node::network>();
  node.security = *security;
  for (const auto& where : *all) {
    node.where = where;
    made->nodes.push_back(node);
  }
  for (std::size_t lane = 0; lane < all->size() * std::max(1u, options.lanes); ++lane)
    node.nodes->note((*all)[lane % all->size()].text(), node::board::state::away,
                     "not reached yet", lane);
  made->timeout = std::chrono::seconds{options.node_timeout_seconds};
  return std::unique_ptr<far_lanes>(new far_lanes(std::move(made)));
}

void far_lanes::load(caf::actor_system_config& config) {
  x_parts->certificates = node::load_middleman(config, x_parts->security);
}

peer_source far_lanes::source_of(std::size_t lane) const {
  auto node = x_parts->nodes[lane % x_parts->nodes.size()];
  node.lane = lane;
  return [node = std::move(node),
          until_next = std::make_shared<node::pauses>()](caf::actor_system& system) {
    return make_far_lane(system, node, until_next);
  };
}

void far_lanes::watch(std::function<void(const error&)> give_up) {
  x_vigil = std::jthread([of = x_parts.get(), tell = std::move(give_up)](std::stop_token stop) {
    std::mutex guard;
    std::condition_variable_any over;
    std::unique_lock lock{guard};
    while (!over.wait_for(lock, stop, watch_every, [&] { return stop.stop_requested(); }))
      if (const auto why = of->problem(); why.code != errc::ok)
        return tell(why);
  });
}

expected<void> far_lanes::wait(const std::function<std::uint32_t()>& lanes_up,
                               std::uint32_t lanes) const {
  const auto& board = *x_parts->nodes.front().nodes;
  auto latest = clock::now() + first_patience;
  for (bool any = false;;) {
    const auto up = lanes_up();
    if (up != 0 && !std::exchange(any, true))
      latest = std::min(latest, clock::now() + others_patience);
    if (up == lanes || (any && clock::now() > latest))
      return {};
    if (const auto why = x_parts->refusal(); why.code != errc::ok)
      return tl::unexpected(why);
    if (clock::now() > latest)
      return fail(errc::fault, "no node was to be had within 10 s (" + board.text()
                                 + "); start one (viva node) and try again");
    std::this_thread::sleep_for(look_every);
  }
}

} // namespace viva::actors
