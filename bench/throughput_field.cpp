#include "bench/throughput_field.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>

namespace viva::bench {
namespace {

constexpr std::size_t table_values = 1 << 20;

/// N(0, 1), drawn once: each tensor is another stretch of it, with another sign and scale.
const std::vector<float>& normal_table() {
  static const auto table = [] {
    std::mt19937 random(20'261'128);
    std::normal_distribution<float> normal;
    std::vector<float> values(table_values);
    std::ranges::generate(values, [&] { return normal(random); });
    return values;
  }();
  return table;
}

constexpr std::uint64_t mix(std::uint64_t x) noexcept { // splitmix64's
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::uint64_t digest_of(std::uint64_t seed, const std::byte* bytes, std::uint64_t count) noexcept {
  for (; count >= 8; bytes += 8, count -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, 8);
    seed = (seed ^ word) * 0x9E3779B97F4A7C15u;
    seed ^= seed >> 29;
  }
  std::uint64_t rest = count << 56;
  std::memcpy(&rest, bytes, count);
  return mix(seed ^ rest);
}

} // namespace

void on_threads(unsigned threads, const std::function<void(unsigned)>& work) {
  std::vector<std::jthread> others;
  for (unsigned part = 1; part < threads; ++part)
    others.emplace_back([&work, part] { work(part); });
  work(0);
}

std::uint64_t throughput_field::source_bytes_of(std::uint64_t tensors, std::uint64_t values) {
  return tensors * values * sizeof(float);
}

std::uint64_t throughput_field::result_bytes_of(const kernels::recipe& how, std::uint64_t tensors,
                                                std::uint64_t values) {
  return tensors * map_planes(how, 1, values).total;
}

throughput_field::throughput_field(const kernels::recipe& how, std::uint64_t tensors,
                                   std::uint64_t values, unsigned threads, memory where)
    : x_how(how), x_tensors(tensors), x_values(values), x_map(map_planes(how, 1, values)),
      x_threads(threads), x_source(reinterpret_cast<float*>(where.source.data())),
      x_results(where.results.data()), x_must(tensors) {
  const auto& table = normal_table();
  share(tensors, [&](std::uint64_t first, std::uint64_t last) {
    for (auto i = first; i < last; ++i) {
      const auto random = mix(i + 1);
      const float scale = (random >> 63 != 0 ? -0.02f : 0.02f)
                          * (1 + static_cast<float>(random >> 40 & 1023) / 1024);
      for (std::uint64_t k = 0; k < values; ++k)
        x_source[i * values + k] = scale * table[(random + k) % table_values];
    }
  });
  // What must come, by the reference; it uses the results' memory and leaves it wiped.
  share(tensors, [&](std::uint64_t first, std::uint64_t last) {
    for (auto i = first; i < last; ++i) {
      std::array<std::byte*, kernels::planes_max> to{};
      for (std::size_t p = 0; p < x_map.count; ++p)
        to[p] = x_results + i * x_map.total + x_map.offset[p];
      const auto at = view(i);
      const auto done = x_how.row->encode_reference(x_how, {at.data, at.type, 1, values}, {},
                                                    {to.data(), x_map.count});
      x_must[i] = done ? digest(i) : 0;
    }
  });
  wipe(tensors);
}

void throughput_field::share(std::uint64_t count,
                             const std::function<void(std::uint64_t, std::uint64_t)>& work) {
  const auto parts = x_threads;
  on_threads(parts, [&](unsigned part) {
    work(count * part / parts, count * (part + 1) / parts);
  });
}

void throughput_field::encode(std::uint64_t first, std::uint64_t last) noexcept {
  const auto kernel = x_how.row->encode_simd;
  std::array<std::byte*, kernels::planes_max> to{};
  for (auto i = first; i < last; ++i) {
    for (std::size_t p = 0; p < x_map.count; ++p)
      to[p] = x_results + i * x_map.total + x_map.offset[p];
    const kernels::matrix in{reinterpret_cast<const std::byte*>(x_source + i * x_values),
                             dtype::f32, 1, x_values};
    if (!kernel(x_how, in, {}, {to.data(), x_map.count}))
      return; // its results stay wiped, and are found wrong
  }
}

void throughput_field::wipe(std::uint64_t count) {
  share(count, [&](std::uint64_t first, std::uint64_t last) {
    std::memset(x_results + first * x_map.total, 0xA5, (last - first) * x_map.total);
  });
}

std::uint64_t throughput_field::digest(std::uint64_t i) const noexcept {
  std::uint64_t sum = i;
  for (std::size_t p = 0; p < x_map.count; ++p)
    sum = digest_of(sum, x_results + i * x_map.total + x_map.offset[p], x_map.bytes[p]);
  return sum;
}

std::uint64_t throughput_field::wrong(std::uint64_t count) {
  std::atomic<std::uint64_t> bad{0};
  share(count, [&](std::uint64_t first, std::uint64_t last) {
    std::uint64_t here = 0;
    for (auto i = first; i < last; ++i)
      here += digest(i) != x_must[i];
    bad += here;
  });
  return bad;
}

} // namespace viva::bench
