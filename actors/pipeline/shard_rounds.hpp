#pragma once

// Shard rounds: work on one tensor, shard by shard, in rounds. A round begins when the one before
// it is done by all shards; the first error in the order of the shards ends it all.
//
// Lanes end units where nothing may throw. So an answer that there is no memory is made beforehand,
// and what `deliver` needs is there before the work begins.

#include "actors/pipeline/desk.hpp"
#include "actors/pipeline/remote_order.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace viva::actors {

class shard_rounds : public std::enable_shared_from_this<shard_rounds> {
public:
  struct order {
    std::string name; ///< In errors.
    urgency how_urgent = urgency::normal;
    deadline until = no_deadline;
  };

  shard_rounds(order what, std::size_t shards, std::shared_ptr<desk> work);
  virtual ~shard_rounds() = default;

  /// Ends it as soon as no lane works on it.
  void withdraw(errc why);

protected:
  /// Begins with round `first`; once. Where it was withdrawn before nothing happens, and `prepare`,
  /// which runs under the lock, is not called. Throws what `prepare` throws, and has not begun;
  /// units for which there is no memory end it as any error does.
  void start(unsigned first, const std::function<void()>& prepare = [] {});

  /// One shard in one round, on a lane; may run again where the lane died.
  virtual expected<unit_tally> run(unsigned round, std::size_t shard, const lane_floor&) = 0;
  /// The same on a lane process: first what it is to do, an order without steps where nothing is
  /// left, then what came of it; nothing where that cannot be.
  virtual expected<remote_order> ask(unsigned round, std::size_t shard, std::uint64_t life) = 0;
  virtual std::optional<expected<unit_tally>> settle(unsigned round, std::size_t shard,
                                                     const tensor_receipt&) = 0;
  /// After `ask`: whether it wants bytes of a disk first. Ports do not wait for one: `read` is
  /// called, and whoever it gives that to calls `then`. The shard is asked for again.
  virtual bool must_read(std::size_t shard) const;
  /// `wanted` is asked right before the disk is: where it is not, nobody waits for the bytes.
  virtual void read(std::size_t shard, std::function<bool()> wanted, std::function<void()> then);
  /// All shards have done it: true where one more round follows.
  virtual bool round_done(unsigned round) = 0;
  /// The end, once, without the lock: done, or why not. May not throw. Units may stay in line and
  /// hold this: what it held of the budget goes back behind the memory that it was for.
  virtual void deliver(std::optional<error>) = 0;
  /// The only lane that may run a shard; unit::any_lane by default.
  virtual std::size_t lane_of(std::size_t shard) const;

  /// An error that there was no memory to describe, described.
  tl::unexpected<error> without_words(error why) const {
    if (why.text.empty())
      why.text = name() + ": no memory is left for this call; free some";
    return tl::unexpected(std::move(why));
  }
  const std::string& name() const noexcept {
    return x_order.name;
  }

private:
  class shard_unit;
  /// How a shard comes to a lane: first, let in once it had waited, or with its bytes read.
  enum class turn : std::uint8_t { first, let_in, read };
  /// Shards whose bytes are read or were, and are not done: others wait, and hold no memory yet.
  static constexpr std::size_t reads_max = 8;

  bool begin_shard();
  bool holds_back();
  void park(unsigned round, std::size_t shard) noexcept;
  void shard_done(turn);
  void shard_lost();
  void shard_failed(const error&, bool was_begun);
  void set_aside(unsigned round, std::size_t shard, turn) noexcept;
  void take_up(unsigned round, std::size_t shard) noexcept;
  void submit(unsigned round, std::size_t first, std::size_t count, turn) noexcept;
  void note_stop(errc why, std::string_view words) noexcept;
  void settle(std::unique_lock<std::mutex>&);

  const order x_order;
  const std::shared_ptr<desk> x_desk;
  std::vector<std::optional<error>> x_problems; // each written by the lane that runs the shard

  std::mutex x_guard;
  std::size_t x_left = 0, x_running = 0; // of this round
  std::size_t x_reading = 0;             // of reads_max
  std::vector<std::size_t> x_parked;     // shards that wait for one of those
  unsigned x_round = 0;
  bool x_answered = false;
  std::optional<error> x_stopped;
  error x_no_memory;
};

/// For outcome::on_withdraw: holds nobody alive.
inline std::function<void(errc)> withdraws(const std::shared_ptr<shard_rounds>& job) {
  return [weak = std::weak_ptr(job)](errc why) {
    if (const auto still = weak.lock())
      still->withdraw(why);
  };
}

} // namespace viva::actors
