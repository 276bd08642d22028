#pragma once

// The search for the scales of a plan's scalings (plan.hpp), kept by the conductor. Pure: what the
// shards of a search found goes in, what other shards wait for comes out.
//
//   shares  ──all home──►  candidates  ──► losses  ──all home──►  scales  ──► encode, fold
//
// Nothing depends on the order in which shards come home, nor on how rows were cut into them
// (kernels/awq_search.hpp).

#include "actors/plan.hpp"
#include "actors/workplace.hpp"
#include "kernels/awq_search.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace viva::actors {

/// What a shard is told of a search; null where it needs nothing. Owned by all who work with it.
struct searched {
  using numbers = std::shared_ptr<const std::vector<float>>;
  numbers columns; ///< losses: every candidate's scales, (candidates, cols). encode: what columns
                   ///< are multiplied by.
  numbers rows;    ///< encode, fold: what rows are divided by.
};

/// What a shard of the plan is told has the size that its task reads: all of it, or nothing.
bool fits(const plan& work, std::uint32_t shard, const searched& told);

class scale_search {
public:
  scale_search() = default;
  /// `work` must live as long as this.
  explicit scale_search(const plan& work);

  /// Shards that wait for one that searches.
  std::vector<std::uint32_t> held() const;

  /// Takes what a shard of task shares or losses found, once for each; appends to `freed` the
  /// shards that wait no longer. False where the bytes make no sense.
  bool take(std::uint32_t shard, std::string_view findings, const workplace&,
            std::vector<std::uint32_t>& freed);

  searched told_to(std::uint32_t shard) const;

  /// The digits of all scales, and where they stand; only when every shard is home.
  std::vector<std::pair<placement, std::string>> texts() const;

private:
  struct state_of_one {
    std::uint32_t shares_left = 0, losses_left = 0;
    std::vector<std::uint64_t> share_sums; ///< Until the candidates are known.
    kernels::awq::loss_sums losses;
    searched::numbers candidates;          ///< Until the scales are known.
    searched::numbers scales;
    std::vector<std::uint32_t> waiting;    ///< losses, encode and fold shards of it.
  };

  bool ready(std::uint32_t shard) const;
  bool add_shares(std::uint32_t scaling, std::string_view findings);
  bool add_losses(std::uint32_t scaling, std::string_view findings, const workplace&);
  void free_waiting(std::uint32_t scaling, std::vector<std::uint32_t>& freed) const;

  const plan* x_work = nullptr;
  std::vector<state_of_one> x_all; ///< By scaling.
};

/// The scale of one value of what is divided, so that dividing by it, rounding to `type` and
/// multiplying again gives the value: the rounding of a norm then costs nothing. `scale` as it was
/// searched; 1 where it cannot be divided.
float fold_scale(float value, float scale, float plus, kernels::dtype type) noexcept;

/// What a value becomes: (value + plus) / scale - plus, in f32.
inline float folded(float value, float scale, float plus) noexcept {
  return (value + plus) / scale - plus;
}
/// The other way.
inline float unfolded(float value, float scale, float plus) noexcept {
  return (value + plus) * scale - plus;
}

} // namespace viva::actors
