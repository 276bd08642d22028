#include "actors/pipeline/lane_peer.hpp"

#include "actors/pipeline/tensor_ward.hpp"
#include "supervision/reason.hpp"

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
  std::int32_t pid() const override {
    return x_whom->pid();
  }
  void kill(supervision::fault why, std::string words) override {
    x_whom->kill(why, std::move(words));
  }

private:
  const std::unique_ptr<supervision::process> x_whom;
};

class own_peer final : public lane_peer {
public:
  void attach(supervision::process_events events) override {
    x_tell = std::move(events);
    x_tell.on_ready();
  }
  void send(supervision::frame what) override {
    if (!x_tell.on_end)
      return;
    try {
      if (!x_work.take(what))
        end(supervision::make_error(supervision::fault::protocol, "an order that makes no sense"));
    } catch (...) {
      end(supervision::reason_of(std::current_exception()));
    }
  }
  void expect_progress(supervision::milliseconds) override {
  }
  void leave() override {
    end({});
  }
  void kill(supervision::fault why, std::string words) override {
    end(supervision::make_error(why, std::move(words)));
  }

private:
  void end(caf::error reason) {
    if (const auto tell = std::exchange(x_tell, {}).on_end)
      tell({std::move(reason), x_mark});
  }

  supervision::process_events x_tell;
  std::uint64_t x_mark = 0; // the order that it executes
  tensor_ward x_work{{[this](supervision::frame what) {
                        if (x_tell.on_frame)
                          x_tell.on_frame(std::move(what));
                        return true;
                      },
                      [this](std::uint64_t order) { x_mark = order; }, [] {}}};
};

} // namespace

std::unique_ptr<lane_peer> peer_of(std::unique_ptr<supervision::process> whom) {
  return std::make_unique<process_peer>(std::move(whom));
}

std::unique_ptr<lane_peer> make_own_peer() {
  return std::make_unique<own_peer>();
}

peer_source peers_from(std::shared_ptr<supervision::standby> processes) {
  return [processes = std::move(processes)](caf::actor_system&) {
    return peer_of(processes->take());
  };
}

} // namespace viva::actors
