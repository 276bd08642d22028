#pragma once

// Teams: how device code shares a unit of work among lanes, without saying what a lane is.
//
// A team runs something on each of its lanes, and folds one number of each lane into one that all
// of them have. What a lane keeps between two such steps is its `own`. On a device a lane is a
// thread, and a team is a part of a warp or a block of threads (team.cuh). `looped_team` is the
// same as plain loops, one lane after the other, so that whatever takes a team runs on any machine,
// too.
//
// Order     Lanes are a power of two. A fold joins lanes half the team apart, then a quarter …, so
// a
//           join whose order matters (sums of floats) may be folded by teams of up to 32 lanes;
//           larger ones join warps last and want a join that is associative in every bit.

#include "kernels/portability.hpp"

#include <array>
#include <cstddef>

/// Asks the device's compiler to unroll the loop behind it.
#if defined(__CUDA_ARCH__)
#define VIVA_UNROLLED _Pragma("unroll")
#else
#define VIVA_UNROLLED
#endif

namespace viva::kernels {

class looped_team {
public:
  static constexpr unsigned lanes_max = 256;

  /// What each lane keeps.
  template <class T>
  class own {
  public:
    T& operator[](unsigned lane) noexcept {
      return x_all[lane];
    }

  private:
    std::array<T, lanes_max> x_all{};
  };

  explicit looped_team(unsigned lanes) noexcept : x_lanes(lanes) {}

  unsigned lanes() const noexcept {
    return x_lanes;
  }

  /// body(lane) on every lane.
  template <class Body>
  void each(const Body& body) const {
    for (unsigned lane = 0; lane < x_lanes; ++lane)
      body(lane);
  }

  /// body() on one lane.
  template <class Body>
  void once(const Body& body) const {
    body();
  }

  /// of(lane) of every lane, joined.
  template <class Of, class Join>
  auto fold(const Of& of, const Join& join) const {
    return fold_to<1>(of, join).each[0];
  }

  /// The same down to `Stay` lanes, which all lanes see.
  template <unsigned Stay, class Of, class Join>
  auto fold_to(const Of& of, const Join& join) const {
    struct {
      decltype(of(0u)) each[Stay];
    } folded;
    std::array<decltype(of(0u)), lanes_max> parts{};
    for (unsigned lane = 0; lane < x_lanes; ++lane)
      parts[lane] = of(lane);
    for (unsigned apart = x_lanes / 2; apart >= Stay; apart /= 2)
      for (unsigned lane = 0; lane < apart; ++lane)
        parts[lane] = join(parts[lane], parts[lane + apart]);
    for (unsigned lane = 0; lane < Stay; ++lane)
      folded.each[lane] = parts[lane];
    return folded;
  }

private:
  unsigned x_lanes;
};

/// Lanes for a run of `values`, four to a chunk: a chunk or a few for each.
constexpr unsigned lanes_for(std::size_t values) noexcept {
  const std::size_t chunks = (values + 3) / 4;
  if (chunks > 256)
    return 256;
  unsigned lanes = 1;
  while (lanes < 32 && lanes < chunks)
    lanes *= 2;
  return lanes;
}

} // namespace viva::kernels
