#pragma once

// Unit: what a lane takes as a whole, and what it tells of itself. A shard of one tensor, or a
// batch of small tensors.
//
// begin → run → finish, on one lane. A lane that dies after `begin` leaves the unit as if it had
// not begun (`lose`), so `run` may happen many times and writes the same bytes each time; `finish`
// and `fail` happen once, and one of them does.

#include "actors/pipeline/future.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace viva::actors {

/// What a run of a unit did.
struct unit_tally {
  std::uint64_t tensors = 0, bytes = 0; ///< Of source.
  std::uint64_t values = 0;
  std::string_view method{}; ///< Of static storage; empty: nothing that has a speed.
};

class lane_shelf;

/// What a lane gives to the unit that runs on it.
class lane_floor {
public:
  lane_floor(const std::atomic<bool>& condemned, lane_shelf& shelf)
      : x_condemned(condemned), x_shelf(shelf) {
  }
  /// What this lane holds, and loses when it dies.
  lane_shelf& shelf() const noexcept {
    return x_shelf;
  }
  /// A point at which this lane may be made to die, for tests of deaths in the midst of work.
  void step() const {
    if (x_condemned.load(std::memory_order_relaxed)) [[unlikely]]
      die();
  }

private:
  [[noreturn]] static void die();
  const std::atomic<bool>& x_condemned;
  lane_shelf& x_shelf;
};

/// Lanes that are not threads, and the seats of each at the desk: seat s of lane i is place
/// s * lanes + i there.
struct lane_grid {
  std::size_t lanes = 0, seats = 1; ///< No lanes: any.

  std::size_t place(std::size_t lane, std::size_t seat) const noexcept {
    return lanes == 0 ? ~std::size_t{0} : lane % lanes + seat % seats * lanes;
  }
};

struct remote_order;
struct tensor_receipt;

/// What a unit is to a lane that is a process: an order about shared memory instead of `run`.
class remote_unit {
public:
  virtual ~remote_unit() = default;

  /// For a lane process in this life. Nothing where nothing is left to do, or it cannot be done;
  /// the unit then is finished without a run.
  virtual std::unique_ptr<remote_order> order(std::uint64_t life) = 0;
  /// False where this cannot be what came of that order.
  virtual bool settle(const tensor_receipt&) = 0;
  virtual unit_tally tally() const = 0; ///< Of what was settled.
};

class unit;
using unit_ptr = std::shared_ptr<unit>;
using handful = std::vector<unit_ptr>;

class unit {
public:
  virtual ~unit() = default;
  /// Null where it can run in this process only.
  virtual remote_unit* remote() noexcept {
    return nullptr;
  }

  /// False where nobody wants it any more; then it has answered by itself.
  virtual bool begin() noexcept = 0;
  /// An exception ends the lane.
  virtual unit_tally run(const lane_floor&) = 0;
  virtual void finish() noexcept = 0;
  /// Finishes this, the first of `run`, and those behind it that go home to the same place; how
  /// many. A place that is locked is locked once for them.
  virtual std::size_t finish_first_of(std::span<const unit_ptr> run) noexcept {
    static_cast<void>(run);
    finish();
    return 1;
  }
  virtual const void* home() const noexcept { ///< Null: a place of its own.
    return nullptr;
  }
  /// Its lane died after `begin`, and it goes back into line.
  virtual void lose() noexcept = 0;
  /// It will not run: too many lanes died of it, or the pipeline is closed.
  virtual void fail(const error&, bool was_begun) noexcept = 0;

  static constexpr std::size_t any_lane = ~std::size_t{0};
  urgency how_urgent = urgency::normal;
  std::size_t only_lane = any_lane; ///< It waits for this one, even while that is down.
  bool light = false; ///< Microseconds of work: a lane may take several before it does one.
  std::uint32_t runs_lost = 0; ///< The desk's.
  /// The lane's; read by the desk once the lane is dead: `begin` said so, and it is in `run`.
  std::atomic<bool> begun{false}, at_work{false};
};

/// By the lane that they still are; those that have answered by themselves are null.
void finish_all(std::span<const unit_ptr> units) noexcept;

} // namespace viva::actors
