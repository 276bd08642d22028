#pragma once

// Findings: what the shards of a job told beside their bytes, merged as they come home. Pure; the
// order of arrival changes no bit.
//
//   survey            merged by group; the last one gives the group's tensors their numbers
//   shares, losses    a search for scales (scale_search.hpp)
//   encode, measure   sums, 64 KiB a tensor, folded into metrics when the tensor is whole
//   scan              the lowest position of each tensor

#include "actors/plan.hpp"
#include "actors/scale_search.hpp"
#include "actors/workplace.hpp"
#include "kernels/metrics.hpp"

#include <optional>
#include <string>
#include <vector>

namespace viva::actors {

/// True where `told` can be what this shard tells. Whoever hears strangers asks before it believes
/// a receipt: the book takes each shard once.
bool findings_make_sense(const plan& work, std::uint32_t shard, std::string_view told);

class findings_book {
public:
  /// Both must outlive it. `sources` may be null where nothing is scaled.
  findings_book(const plan& work, const workplace* sources);

  /// Shards that wait for a survey or a search.
  std::vector<std::uint32_t> held() const;

  /// Takes what a shard told, once for each shard. False where it makes no sense. Shards that
  /// waited for this one are appended to `released`.
  bool take(std::uint32_t shard, const std::string& told, std::vector<std::uint32_t>& released);

  const scale_search& scales() const noexcept {
    return x_scales;
  }
  const std::vector<kernels::tensor_numbers>& numbers() const noexcept { ///< By tensor.
    return x_numbers;
  }
  /// By tensor; none where nothing was measured, or not everything yet.
  std::vector<std::optional<kernels::metrics>>& errors() noexcept {
    return x_errors;
  }
  /// By tensor: flat position of its first NaN or infinity, or empty.
  std::vector<std::string>& not_finite_at() noexcept {
    return x_not_finite_at;
  }

private:
  struct group_state {
    kernels::survey seen;
    std::uint32_t shards_left = 0;
    std::vector<std::uint32_t> held; ///< Shards that wait for its numbers.
  };
  struct measured_state {
    kernels::error_sums sums;
    std::uint32_t shards_left = 0;
  };
  bool waits_for_survey(std::uint32_t shard) const;
  bool take_survey(std::uint32_t group, const std::string& told,
                   std::vector<std::uint32_t>& released);
  bool take_sums(std::uint32_t tensor, const std::string& told);
  bool take_position(std::uint32_t tensor, const std::string& told);

  const plan* x_work;
  const workplace* x_sources;
  scale_search x_scales;
  std::vector<group_state> x_groups;
  std::vector<measured_state> x_measured; ///< By tensor.
  std::vector<kernels::tensor_numbers> x_numbers;
  std::vector<std::optional<kernels::metrics>> x_errors;
  std::vector<std::string> x_not_finite_at;
};

} // namespace viva::actors
