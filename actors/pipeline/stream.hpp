#pragma once

// Stream: many small tensors through a pipeline, in batches, each with a result of its own.
//
//   for (auto&& [index, result] : pipe.stream(tensors, viva::int8{}))
//     if (result) use(index, *result); else tell(result.error());
//
// Batches are filled by whoever iterates, so a consumer that stops stops the producer, and memory
// stays at `stream_options::window` batches. One bad tensor fails alone.

#include "actors/pipeline/budget.hpp"
#include "actors/pipeline/encoded.hpp"
#include "actors/pipeline/tensor_view.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <ranges>
#include <span>

namespace viva {

struct stream_options {
  dtype type = dtype::f32;           ///< Of every tensor.
  bool in_order = false;             ///< Results in the order of their tensors.
  /// Tensors a ticket at most; 1: one message each; 0: 1024, or 4096 where lanes are processes.
  std::uint32_t batch_tensors = 0;
  /// Encoded bytes a batch aims at; a larger tensor goes alone. 0: 1 MiB, or 4 MiB.
  std::uint64_t batch_bytes = 0;
  /// Batches under way or unread; 0: for about 16,384 tensors. A quarter of the pipeline's
  /// budget_tickets at most.
  std::uint32_t window = 0;
  urgency how_urgent = urgency::normal;
  deadline until = no_deadline; ///< Tensors that no lane has begun by then fail with timed_out.
  bool measure = false; ///< Lanes decode each result again: encoded_view::measured.
  on_full when_full = on_full::block; ///< While other work holds the budget; suspend: as block.
  /// Where results go: one after the other in the order of the tensors, each from a multiple of 64
  /// bytes on. Lanes write them there, and they stay. Empty: memory of the stream's own. Where
  /// lanes are processes: memory of `pipeline::share`.
  std::span<std::byte> into{};
};

/// What a source answers that has no tensor at the moment: it is asked again, and meanwhile those
/// that are done are read. One that waits instead makes those wait, too.
inline constexpr std::size_t none_yet = ~std::size_t{0};
/// Fills some views and says how many; 0 ends the stream. Fewer than there is room for: the next
/// may take a while, so a batch goes without them while lanes have little to do. Called on the
/// thread that iterates. One that throws ends the stream with one more item, which says what.
using tensor_source = std::function<std::size_t(std::span<tensor_view>)>;

struct stream_item {
  std::uint64_t index = 0; ///< Of the tensor, counted from 0.
  /// Valid until the next step of the stream; `encoded{*result}` keeps it. Bytes in `into` stay.
  expected<encoded_view> result;
};

namespace actors {
class stream_core;
} // namespace actors

class tensor_stream {
public:
  tensor_stream(tensor_stream&&) noexcept;
  tensor_stream& operator=(tensor_stream&&) = delete;
  /// Cancels what is left, and waits until no lane reads the caller's bytes.
  ~tensor_stream();

  /// Steps to the next tensor; false at the end. `item` is then the one stepped to.
  bool step() {
    if (x_more == 0) [[unlikely]]
      return step_on();
    --x_more;
    ++x_index;
    x_result.to_next();
    return true;
  }
  stream_item item() const {
    if (!x_good) [[unlikely]]
      return bad_item();
    return {x_index, x_result};
  }
  /// Everything not yet begun fails with errc::interrupted. Any thread.
  void cancel();

  struct sentinel {};
  class iterator {
  public:
    using value_type = stream_item;
    using difference_type = std::ptrdiff_t;
    explicit iterator(tensor_stream* of = nullptr) : x_of(of) {
    }
    stream_item operator*() const {
      return x_of->item();
    }
    iterator& operator++() {
      if (!x_of->step())
        x_of = nullptr;
      return *this;
    }
    void operator++(int) {
      ++*this;
    }
    friend bool operator==(const iterator& at, sentinel) {
      return at.x_of == nullptr;
    }

  private:
    tensor_stream* x_of;
  };
  iterator begin() {
    return iterator{step() ? this : nullptr};
  }
  sentinel end() const {
    return {};
  }

private:
  friend class pipeline;
  explicit tensor_stream(std::unique_ptr<actors::stream_core>);
  explicit tensor_stream(error); ///< Of its only item.
  bool step_on();
  stream_item bad_item() const;
  std::unique_ptr<actors::stream_core> x_core; // null where it could not be made
  error x_broken; // what the last item says that the core does not; code ok: none
  bool x_told = false;
  // The many are stepped through here, without a call: a result, where good, and how many good ones
  // lie behind it.
  bool x_good = false;
  encoded_view x_result;
  std::uint64_t x_index = 0;
  std::uint32_t x_more = 0;
};

/// A source of the views of a range, which must stay where it is. Elements are tensor_views or
/// contiguous ranges of float.
template <std::ranges::input_range Range>
tensor_source source_of(Range& tensors) {
  return [at = std::ranges::begin(tensors), last = std::ranges::end(tensors)](
           std::span<tensor_view> out) mutable {
    std::size_t count = 0;
    for (; count < out.size() && at != last; ++at)
      if constexpr (std::is_convertible_v<decltype(*at), tensor_view>)
        out[count++] = *at;
      else
        out[count++] = view_of(std::span<const float>(*at));
    return count;
  };
}

} // namespace viva
