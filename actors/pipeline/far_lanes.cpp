#include "actors/pipeline/far_lanes.hpp"

#include "actors/node/far_lane.hpp"
#include "actors/node/middleman.hpp"
#include "actors/node/reception.hpp"
#include "actors/pipeline.hpp"

#include <caf/actor_system_config.hpp>

#include <thread>

namespace viva::actors {
namespace {

using clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds first_patience{5'000}, others_patience{1'000}, look_every{2};

} // namespace

struct far_lanes::parts {
  std::optional<node::tls_files> security;
  node::kept_files certificates;
  std::vector<node::far_node> nodes;
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
  node::far_node node{{},
                      std::make_shared<node::board>(),
                      std::make_shared<node::liveness_watch>(
                        node::liveness_options{.security = *security, .times = {}}),
                      std::make_shared<node::network>(),
                      *security};
  for (const auto& where : *all) {
    node.where = where;
    node.nodes->note(where.text(), node::board::state::away, "not reached yet");
    made->nodes.push_back(node);
  }
  return std::unique_ptr<far_lanes>(new far_lanes(std::move(made)));
}

void far_lanes::load(caf::actor_system_config& config) {
  x_parts->certificates = node::load_middleman(config, x_parts->security);
}

peer_source far_lanes::source_of(std::size_t lane) const {
  return [node = x_parts->nodes[lane % x_parts->nodes.size()],
          until_next = std::make_shared<node::pauses>()](caf::actor_system& system) {
    return make_far_lane(system, node, until_next);
  };
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
    if (const auto refused = board.all_refused(); !refused.empty())
      return fail(errc::bad_option, "no node takes the work; " + refused);
    if (clock::now() > latest)
      return fail(errc::fault, "no node was to be had within 5 s (" + board.text()
                                 + "); start one (viva node), and make a new pipeline");
    std::this_thread::sleep_for(look_every);
  }
}

} // namespace viva::actors
