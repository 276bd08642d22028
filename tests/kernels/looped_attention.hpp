#pragma once

// Attention as a device computes it, by loops: the lanes of a warp one after the other, the warps
// of a block and its threads likewise. Products are PTX's fragments put together and taken apart.

#include "kernels/device_attention-inl.hpp"

#include <array>
#include <vector>

namespace viva::kernels::testing {

class looped_warp {
public:
  template <class T>
  class own {
  public:
    T& operator[](unsigned lane) noexcept {
      return x_all[lane];
    }

  private:
    std::array<T, 32> x_all{};
  };

  template <class Body>
  void each(const Body& body) const {
    for (unsigned lane = 0; lane < 32; ++lane)
      body(lane);
  }
  void sync() const {}

  template <class Of, class Join>
  auto quads(const Of& of, const Join& join) const {
    own<decltype(of(0u))> parts, pairs, folded;
    each([&](unsigned lane) { parts[lane] = of(lane); });
    each([&](unsigned lane) { pairs[lane] = join(parts[lane], parts[lane ^ 1]); });
    each([&](unsigned lane) { folded[lane] = join(pairs[lane], pairs[lane ^ 2]); });
    return folded;
  }

  template <dtype Type>
  static std::uint32_t pack(float low, float high) {
    std::byte bytes[4];
    put_value(low, Type, bytes, 0);
    put_value(high, Type, bytes, 1);
    return load_as<std::uint32_t>(bytes);
  }

  /// As "Matrix Fragments for mma.m16n8k16" of PTX's manual has them, for 16-bit floats.
  template <dtype Type, class Of>
  void mma(const Of& of) const {
    float a[16][16], b[16][8];
    std::array<attention::fragment, 32> all;
    for (unsigned lane = 0; lane < 32; ++lane) {
      all[lane] = of(lane);
      const unsigned g = lane / 4, t = lane % 4;
      for (unsigned i = 0; i < 8; ++i)
        a[g + (i / 2 % 2) * 8][t * 2 + i % 2 + (i / 4) * 8] = half<Type>(all[lane].a[i / 2], i % 2);
      for (unsigned i = 0; i < 4; ++i)
        b[t * 2 + i % 2 + (i / 2) * 8][g] = half<Type>(all[lane].b[i / 2], i % 2);
    }
    for (unsigned lane = 0; lane < 32; ++lane)
      for (unsigned i = 0; i < 4; ++i) {
        float sum = all[lane].c[i];
        for (unsigned k = 0; k < 16; ++k)
          sum += a[lane / 4 + i / 2 * 8][k] * b[k][lane % 4 * 2 + i % 2];
        all[lane].c[i] = sum;
      }
  }

private:
  template <dtype Type>
  static float half(std::uint32_t word, unsigned which) {
    std::byte bytes[4];
    store_as(word, bytes);
    return value_of(bytes, Type, which);
  }
};

template <dtype Type, unsigned Head>
void attend_block(const attention::device_problem& what, attention::tile_place queries) {
  using size = attention::block_shape<Type, Head>;
  std::vector<attention::chunk> shared(size::bytes / sizeof(attention::chunk) + 1);
  const attention::block_memory<Type, Head> memory(reinterpret_cast<std::byte*>(shared.data()));
  const auto& of = what.of;
  const auto stage = [&](const attention::source_rows& from, const attention::tile_place& at,
                         unsigned count, std::size_t there, typename size::value* to) {
    for (unsigned thread = 0; thread < size::lanes; ++thread)
      attention::stage_rows<Type, Head>(from, at, of.head_size, count, there, thread, to);
  };
  stage(what.in.q, queries, size::rows, of.queries - queries.first, memory.q);
  std::vector<attention::attending_warp<looped_warp, Type, Head>> warps;
  for (unsigned warp = 0; warp < size::warps; ++warp)
    warps.emplace_back(looped_warp{}, what, queries, 16 * warp);
  const auto seen = attention::keys_of_block<Type, Head>(of, queries.first);
  attention::tile_place keys{queries.sequence, queries.head / (of.heads / of.kv_heads), 0};
  for (auto first = seen.first; first < seen.last; first += static_cast<int>(size::keys)) {
    keys.first = static_cast<std::size_t>(first);
    stage(what.in.k, keys, size::keys, of.keys - keys.first, memory.k);
    stage(what.in.v, keys, size::keys, of.keys - keys.first, memory.v);
    for (unsigned warp = 0; warp < size::warps; ++warp)
      warps[warp].step(memory, 16 * warp, first);
  }
  for (auto& each : warps)
    each.finish();
}

template <dtype Type, unsigned Head>
void attend_looped(const attention::device_problem& what) {
  for (std::size_t b = 0; b < what.of.batch; ++b)
    for (std::size_t h = 0; h < what.of.heads; ++h)
      for (std::size_t i = 0; i < what.of.queries; i += attention::block_shape<Type, Head>::rows)
        attend_block<Type, Head>(what, {b, h, i});
}

template <dtype Type>
void attend_looped(const attention::device_problem& what) {
  if (what.of.head_size <= 64)
    attend_looped<Type, 64>(what);
  else if (what.of.head_size <= 128)
    attend_looped<Type, 128>(what);
  else
    attend_looped<Type, 256>(what);
}

} // namespace viva::kernels::testing
