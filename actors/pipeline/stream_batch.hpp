#pragma once

// Stream batch: tensors that travel together, and the slab their results lie in. Batches go round
// between the stream, the desk and the lanes; nothing is allocated once all have their size.

#include "actors/pipeline/desk.hpp"
#include "actors/pipeline/encode_view.hpp"
#include "actors/pipeline/slab.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

namespace viva::actors {
class stream_batch;

/// Where lanes leave done batches for the one who iterates.
struct stream_hub {
  explicit stream_hub(deadline limit) : until(limit) {
  }
  const deadline until;
  std::uint32_t wake_at = 1; ///< So few left under way wake the one who waits.

  std::atomic<bool> cancelled{false};

  std::mutex guard; // of what follows
  std::atomic<std::uint32_t> under_way{0}; ///< In line or in a lane; read by anybody.
  std::condition_variable come;
  std::vector<stream_batch*> done;
  bool waiting = false;
};

inline error late_error() {
  return {errc::timed_out, "the stream's deadline passed before a lane was free"};
}
inline error cancelled_error() {
  return {errc::interrupted, "the stream was cancelled"};
}

class stream_batch final : public unit,
                           public remote_unit,
                           public std::enable_shared_from_this<stream_batch> {
public:
  static constexpr std::uint32_t refused = ~0u;
  /// Tensors of one shape that follow each other in memory, as their results do. Slots are counted
  /// through all runs of a batch. A thousand tensors in a row are one of these, which is what
  /// crosses from the processor that fills to the one that encodes.
  struct run_of_tensors {
    tensor_view view;            ///< The first.
    std::uint64_t offset = 0;    ///< Of its planes from `base`.
    std::uint32_t map = refused; ///< In `maps`; refused: see `complaints`.
    std::uint32_t slot = 0, count = 0;

    tensor_view at(std::uint32_t i) const noexcept {
      auto result = view;
      result.data += i * (view.rows * view.step());
      return result;
    }
  };
  struct complaint { std::uint32_t slot = 0; error why; };

  stream_batch(std::shared_ptr<stream_hub> to, const kernels::recipe& with)
      : hub(std::move(to)), how(with) {
  }
  void clear();
  bool all_good() const noexcept {
    return problems.empty() && complaints.empty() && lost.code == errc::ok;
  }
  /// Of slot i, or null.
  const error* problem(std::uint32_t slot) const;

  bool begin() noexcept override;
  unit_tally run(const lane_floor&) override;
  void finish() noexcept override;
  std::size_t finish_first_of(std::span<const unit_ptr> run) noexcept override;
  const void* home() const noexcept override;
  void lose() noexcept override;
  void fail(const error&, bool was_begun) noexcept override;

  remote_unit* remote() noexcept override {
    return this;
  }
  std::unique_ptr<remote_order> order(std::uint64_t life) override;
  bool settle(const tensor_receipt&) override;
  unit_tally tally() const override;

  /// For lane processes: copies what lies in no region behind the results in the slab.
  void bring_over();
  /// What the slab must hold: results, unless they go elsewhere, and what is copied.
  std::uint64_t slab_bytes() const noexcept {
    return results_bytes() + copied_bytes;
  }

  // Written by the stream while the batch is its own.
  std::vector<run_of_tensors> runs;
  std::uint32_t tensors = 0; ///< Of all runs.
  std::vector<plane_map> maps;
  std::vector<complaint> complaints; ///< Of shapes, before it was sent.
  slab bytes;
  std::byte* base = nullptr; ///< The slab's, or the caller's memory.
  std::uint64_t bytes_used = 0;   ///< Of results.
  std::uint64_t copied_bytes = 0; ///< Of sources, for lane processes.
  bool results_elsewhere = false, measure = false;
  /// For lane processes: where each run lies (null: it is to be copied), and where results go.
  std::vector<std::shared_ptr<shared_region>> lies;
  shared_table::place out;
  std::uint64_t sequence = 0, first_index = 0;
  std::chrono::steady_clock::time_point sent{};

  // Written by the lane.
  std::vector<kernels::tensor_numbers> numbers; ///< Of each slot, where the method has any.
  std::vector<tensor_error> errors;             ///< Of each slot, where `measure` says so.
  std::vector<complaint> problems;              ///< By slot.
  error lost;                                   ///< Of all slots; code ok: none.

private:
  std::uint64_t results_bytes() const noexcept {
    return results_elsewhere ? 0 : (bytes_used + 63) / 64 * 64;
  }
  void encode(run_of_tensors, const lane_floor&);
  void come_home();

  const std::shared_ptr<stream_hub> hub;
  const kernels::recipe how; // not the stream's, which lies beside what the stream writes
};

} // namespace viva::actors
