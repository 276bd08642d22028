#pragma once

// Tensor job: one tensor in the caller's memory becomes one encoded tensor. It is cut into shards
// of whole rows, so that all lanes work on a large one; a method that needs a number of the whole
// tensor first gets a round of surveys before.

#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/desk.hpp"
#include "actors/pipeline/encode_view.hpp"

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace viva::actors {

struct tensor_order {
  kernels::recipe how;
  tensor_view view;
  std::string name; ///< In errors.
  urgency how_urgent = urgency::normal;
  deadline until = no_deadline;
};

class tensor_job : public std::enable_shared_from_this<tensor_job> {
public:
  using answer = std::shared_ptr<outcome<expected<encoded>>>;

  tensor_job(tensor_order order, std::shared_ptr<desk> work, answer to);

  /// Once, when the budget has room.
  void start(budget::lease);
  /// Ends the job as soon as no lane reads its view.
  void withdraw(errc why);
  /// Source bytes of results are the caller's; this is what the pipeline allocates.
  static std::uint64_t bytes_of(const tensor_order&);

private:
  class shard;
  friend class shard;

  bool begin_shard();
  unit_tally run_shard(std::size_t index, bool survey, const lane_floor&);
  void shard_done(std::size_t index);
  void shard_lost();
  void shard_failed(const error&, bool begun);
  void next_round(bool survey);
  void stop(std::unique_lock<std::mutex>&, std::optional<error> why);
  void settle(std::unique_lock<std::mutex>&);

  const tensor_order x_order;
  const std::shared_ptr<desk> x_desk;
  const answer x_answer;
  std::vector<row_run> x_rows;
  std::vector<kernels::survey> x_seen;
  std::vector<status> x_status;

  std::mutex x_guard;
  std::optional<encoded> x_result;
  budget::lease x_lease; // until the answer is taken
  std::size_t x_left = 0, x_running = 0; // of this round
  bool x_surveying = false, x_answered = false;
  std::optional<error> x_stopped;
};

} // namespace viva::actors
