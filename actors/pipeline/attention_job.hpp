#pragma once

// Attention job: ranges of keys times runs of queries, each a shard for any lane; then the ranges
// of each row are merged by their log-sum-exp, in the order of the keys.
//
// How the work is cut depends on its shape alone, and a shard writes only its own place, so the
// bytes are the same for any number of lanes and whatever died on the way.

#include "actors/pipeline/attend_step.hpp"
#include "actors/pipeline/attention_parts.hpp"
#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/shard_rounds.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace viva::actors {

class attention_job final : public shard_rounds {
public:
  using answer = std::shared_ptr<outcome<expected<attended>>>;

  attention_job(order what, const attention_view& view, std::shared_ptr<desk> work,
                std::shared_ptr<shared_table> shares, lane_grid homes, answer to);

  /// Once, when the budget has room for `bytes`; an empty lease: it never will.
  void begin(budget::lease);
  /// As `attention_bytes`.
  std::uint64_t bytes() const;

private:
  enum : unsigned { parts_round, merging_round };

  expected<unit_tally> run(unsigned round, std::size_t shard, const lane_floor&) override;
  expected<remote_order> ask(unsigned round, std::size_t shard, std::uint64_t life) override;
  std::optional<expected<unit_tally>> settle(unsigned round, std::size_t shard,
                                             const tensor_receipt&) override;
  bool round_done(unsigned round) override;
  void deliver(std::optional<error>) override;
  std::size_t lane_of(std::size_t shard) const override;

  status run_part(std::size_t shard);
  expected<unit_tally> note_part(std::size_t shard, const status&) const;

  const attention_view x_view;
  const answer x_answer;
  const std::size_t x_pieces;
  attention_parts x_parts;
  const std::shared_ptr<shared_table> x_shares; ///< Null: lanes are threads.
  const lane_grid x_homes; ///< Of keys and values, where lanes are of nodes: a slice, a lane.
  expected<brought_attention> x_brought;
  std::shared_ptr<budget::lease> x_lease; // until the answer is taken
};

/// What it takes of a pipeline's budget: the result, parts that are merged into it, and copies for
/// lanes that have no memory of this process. `shares` null: lanes are threads.
std::uint64_t attention_bytes(const attention_view&, const shared_table* shares);

/// Whether attention decodes what a method has encoded, for these heads. Names method and remedy.
expected<void> check_encoded(const kernels::attention::shape&,
                             const kernels::attention::encoded_tensor&);

/// What the kernel refused, for a person.
error name_attention_problem(const status&, const std::string& name);

/// Whether a pipeline takes it: the shape, encodings, and rows that have data. Names what is wrong.
expected<void> check_attention(const attention_view&, const std::string& name);

} // namespace viva::actors
