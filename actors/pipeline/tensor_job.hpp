#pragma once

// Tensor job: one tensor in the caller's memory becomes one encoded tensor. It is cut into shards
// of whole rows, so that all lanes work on a large one; a method that needs a number of the whole
// tensor first gets a round of surveys before.

#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/encode_view.hpp"
#include "actors/pipeline/shard_rounds.hpp"

#include <memory>
#include <optional>
#include <vector>

namespace viva::actors {

/// Rows of a tensor as shards: `grain` rows belong together.
std::vector<row_run> cut_rows(std::uint64_t rows, std::uint64_t cols, std::uint64_t grain);

class tensor_job final : public shard_rounds {
public:
  using answer = std::shared_ptr<outcome<expected<encoded>>>;

  tensor_job(order what, const kernels::recipe& how, const tensor_view& view,
             std::shared_ptr<desk> work, std::size_t lanes, std::shared_ptr<shared_table> shares,
             answer to);

  /// Once, when the budget has room for `bytes`; an empty lease: it never will.
  void begin(budget::lease);
  /// What the result takes; the source is the caller's. For lane processes the result twice, and
  /// the source where it lies in no shared memory. Where rows are apart, what lanes bring together.
  std::uint64_t bytes() const;

private:
  enum : unsigned { survey_round, encode_round };

  expected<unit_tally> run(unsigned round, std::size_t shard, const lane_floor&) override;
  expected<remote_order> ask(unsigned round, std::size_t shard, std::uint64_t life) override;
  std::optional<expected<unit_tally>> settle(unsigned round, std::size_t shard,
                                             const tensor_receipt&) override;
  expected<void> bring_over();
  expected<unit_tally> note_shard(unsigned round, std::size_t shard, const status&,
                                  const kernels::survey&);
  bool round_done(unsigned round) override;
  void deliver(std::optional<error>) override;

  const kernels::recipe x_how;
  const tensor_view x_view;
  const answer x_answer;
  const std::vector<row_run> x_rows;
  const std::size_t x_lanes;
  std::vector<kernels::survey> x_seen;
  std::optional<encoded> x_result;
  /// For lane processes: where source and result lie, or why there is no room for them.
  const std::shared_ptr<shared_table> x_shares;
  expected<brought_view> x_source;
  std::shared_ptr<shared_region> x_planes;
  std::shared_ptr<budget::lease> x_lease; // until the answer is taken
};

} // namespace viva::actors
