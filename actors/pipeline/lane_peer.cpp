#include "actors/pipeline/lane_peer.hpp"

#include <utility>

namespace viva::actors {
namespace {

class process_peer final : public lane_peer {
public:
  explicit process_peer(std::unique_ptr<supervision::process> whom) : x_whom(std::move(whom)) {
  }
  void attach(supervision::process_events events) override {
    x_whom->attach(std::move(events));
  }
  void send(supervision::frame what) override {
    x_whom->send(std::move(what));
  }
  void expect_progress(supervision::milliseconds limit) override {
    x_whom->expect_progress(limit);
  }
  void leave() override {
    x_whom->leave();
  }
  void kill(supervision::fault why, std::string words) override {
    x_whom->kill(why, std::move(words));
  }

private:
  const std::unique_ptr<supervision::process> x_whom;
};

} // namespace

peer_source peers_from(std::shared_ptr<supervision::standby> processes) {
  return [processes = std::move(processes)](caf::actor_system&) {
    return std::make_unique<process_peer>(processes->take());
  };
}

} // namespace viva::actors
