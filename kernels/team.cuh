#pragma once

// Teams of threads (team.hpp): a part of a warp, or a whole block of threads.

#include "kernels/team.hpp"

#include <cstdint>
#include <cstring>

namespace viva::kernels {

/// What each lane keeps: a thread's own registers.
template <class T>
class thread_own {
public:
  __device__ T& operator[](unsigned) noexcept {
    return x_mine;
  }

private:
  T x_mine{};
};

/// `value` of the lane whose number differs by `apart`'s bits.
template <class T>
__device__ T exchanged(unsigned mask, T value, unsigned apart) {
  static_assert(sizeof(T) % sizeof(unsigned) == 0);
  unsigned words[sizeof(T) / sizeof(unsigned)];
  memcpy(words, &value, sizeof value);
  for (unsigned& word : words)
    word = __shfl_xor_sync(mask, word, static_cast<int>(apart));
  memcpy(&value, words, sizeof value);
  return value;
}

/// 1 to 32 lanes of a warp, side by side; the other lanes of the warp may be anywhere.
class warp_team {
public:
  template <class T>
  using own = thread_own<T>;

  __device__ explicit warp_team(unsigned lanes)
      : x_lanes(lanes), x_lane(threadIdx.x % lanes),
        x_mask((lanes == 32 ? ~0u : (1u << lanes) - 1) << (threadIdx.x % 32 / lanes * lanes)) {}

  __device__ unsigned lanes() const noexcept {
    return x_lanes;
  }
  template <class Body>
  __device__ void each(const Body& body) const {
    body(x_lane);
  }
  template <class Body>
  __device__ void once(const Body& body) const {
    if (x_lane == 0)
      body();
  }
  template <class Of, class Join>
  __device__ auto fold(const Of& of, const Join& join) const {
    auto part = of(x_lane);
    for (unsigned apart = x_lanes / 2; apart != 0; apart /= 2)
      part = join(part, exchanged(x_mask, part, apart));
    return part;
  }
  template <unsigned Stay, class Of, class Join>
  __device__ auto fold_to(const Of& of, const Join& join) const {
    auto part = of(x_lane);
    for (unsigned apart = x_lanes / 2; apart >= Stay; apart /= 2)
      part = join(part, exchanged(x_mask, part, apart));
    struct {
      decltype(of(0u)) each[Stay];
    } folded;
    // Lanes whose numbers agree in their last bits have the same: lane l finds number i where they
    // differ by l ^ i.
    for (unsigned i = 0; i < Stay; ++i) {
      unsigned words[sizeof part / sizeof(unsigned)];
      memcpy(words, &part, sizeof part);
      for (unsigned& word : words)
        word = __shfl_sync(x_mask, word, static_cast<int>(i), static_cast<int>(x_lanes));
      memcpy(&folded.each[i], words, sizeof part);
    }
    return folded;
  }

private:
  unsigned x_lanes, x_lane, x_mask;
};

/// All threads of a block, 64 to 1024: warps join first, then their results.
class block_team {
public:
  template <class T>
  using own = thread_own<T>;

  __device__ unsigned lanes() const noexcept {
    return blockDim.x;
  }
  template <class Body>
  __device__ void each(const Body& body) const {
    body(threadIdx.x);
  }
  template <class Body>
  __device__ void once(const Body& body) const {
    if (threadIdx.x == 0)
      body();
  }
  template <class Of, class Join>
  __device__ auto fold(const Of& of, const Join& join) const {
    using part_type = decltype(of(0u));
    alignas(part_type) __shared__ unsigned char memory[32 * sizeof(part_type)];
    auto* const of_warps = reinterpret_cast<part_type*>(memory);
    auto part = warp_team(32).fold([&](unsigned) { return of(threadIdx.x); }, join);
    if (threadIdx.x % 32 == 0)
      of_warps[threadIdx.x / 32] = part;
    __syncthreads();
    part = of_warps[0];
    for (unsigned warp = 1; warp < blockDim.x / 32; ++warp)
      part = join(part, of_warps[warp]);
    __syncthreads(); // the next fold writes again
    return part;
  }
};

} // namespace viva::kernels
