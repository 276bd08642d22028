#pragma once

// Attention of queries that travel to resident keys and values: each shard of k and v is a range of
// keys, computed by the lane that holds it, which gives (output, log-sum-exp) of every row; then
// the ranges are merged in the order of the keys.
//
// How the keys are cut depends on their shape alone, so the bytes are the same for any number of
// lanes and whatever died on the way: a lane that lost a shard makes it anew.

#include "actors/pipeline/attend_step.hpp"
#include "actors/pipeline/attention_parts.hpp"
#include "actors/pipeline/resident_jobs.hpp"

namespace viva::actors {

class resident_attention_job final : public shard_rounds {
public:
  resident_attention_job(order what, const resident_attention& view, const resident_place&,
                         std::shared_ptr<const resident_tensor> k,
                         std::shared_ptr<const resident_tensor> v, answer_to<attended>);

  /// As attention_job's.
  void begin(budget::lease);
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
  bool must_read(std::size_t shard) const override {
    return !x_requests[shard].reads.empty();
  }
  void read(std::size_t shard, std::function<bool()> wanted,
            std::function<void()> then) override;

  const resident_attention x_view;
  expected<unit_tally> run_part(std::size_t shard, const lane_floor&);
  expected<unit_tally> note_part(std::size_t shard, const status&) const;

  const std::uint32_t x_lanes;
  const std::shared_ptr<shared_table> x_shares; ///< Null: lanes are threads.
  const std::shared_ptr<resident_store> x_store;
  const std::shared_ptr<const resident_tensor> x_k, x_v;
  const answer_to<attended> x_answer;
  attention_parts x_parts;
  expected<brought_attention> x_brought;    ///< q and bias.
  std::vector<resident_request> x_requests; ///< A shard's.
  std::shared_ptr<budget::lease> x_lease; // until the answer is taken
};

/// Whether k and v fit the shape and each other, shard by shard. Names what is wrong.
expected<void> check_resident_attention(const resident_attention&, const resident_tensor& k,
                                        const resident_tensor& v, const std::string& name);

} // namespace viva::actors
