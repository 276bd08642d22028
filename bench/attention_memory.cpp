// What attention takes besides its tensors, as the operating system counts resident pages.

#include "bench/attention_bench.hpp"

#include "kernels/scalar.hpp"

#include <cmath>
#include <fstream>
#include <random>
#include <sstream>

#include <malloc.h>

namespace viva::bench {

namespace {

namespace attention = kernels::attention;

/// Resident bytes of this process, page by page: the counters of `status` are some pages per thread
/// behind (73,728 bytes too few on one machine, whatever the size).
std::uint64_t resident_bytes() {
  std::ifstream pages("/proc/self/smaps_rollup");
  for (std::string line; std::getline(pages, line);)
    if (line.starts_with("Rss:")) {
      std::istringstream words(line.substr(4));
      std::uint64_t kib = 0;
      words >> kib;
      return kib * 1024;
    }
  return 0;
}

/// Resident bytes that `work(look)` has added when it looks, at its end while all it took lives.
template <class Work>
std::uint64_t added_bytes(const Work& work) {
  std::uint64_t after = 0;
  malloc_trim(0);
  const auto before = resident_bytes();
  work([&] { after = resident_bytes(); });
  return after > before ? after - before : 0;
}

struct one_head {
  attention::shape of;
  std::vector<float> q, k, v, out;

  one_head(std::size_t n, std::size_t head_size)
      : of{.queries = n, .keys = n, .head_size = head_size}, q(n * head_size), k(q), v(q), out(q) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (auto* side : {&q, &k, &v})
      for (auto& x : *side)
        x = normal(random);
  }
  attention::source_rows rows(const std::vector<float>& side) const {
    return {reinterpret_cast<const std::byte*>(side.data()), kernels::dtype::f32,
            attention::strides::packed(1, of.keys, of.head_size * sizeof(float))};
  }
  template <class Look>
  void attend(const Look& look) {
    kernels::scratch memory;
    std::vector<float> lse(of.queries);
    const auto packed = rows(out).bytes;
    static_cast<void>(attention::attend(
        of, {rows(q), rows(k), rows(v)},
        {reinterpret_cast<std::byte*>(out.data()), kernels::dtype::f32, packed, lse.data()}, 0,
        attention::pieces(of), memory));
    look();
  }
  /// The textbook's: all scores, all weights, then the sums.
  template <class Look>
  void attend_by_matrix(const Look& look) {
    const std::size_t n = of.queries, d = of.head_size;
    const float scale = 1 / std::sqrt(static_cast<float>(d));
    std::vector<float> weights(n * n);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) {
        float dot = 0;
        for (std::size_t c = 0; c < d; ++c)
          dot += q[i * d + c] * k[j * d + c];
        weights[i * n + j] = std::exp(dot * scale); // scores of N(0, 1) need no maximum
      }
    for (std::size_t i = 0; i < n; ++i) {
      float sum = 0;
      std::fill_n(out.begin() + static_cast<std::ptrdiff_t>(i * d), d, 0.0f);
      for (std::size_t j = 0; j < n; ++j) {
        sum += weights[i * n + j];
        for (std::size_t c = 0; c < d; ++c)
          out[i * d + c] += weights[i * n + j] * v[j * d + c];
      }
      for (std::size_t c = 0; c < d; ++c)
        out[i * d + c] /= sum;
    }
    look();
  }
};

} // namespace

void run_attention_memory(std::size_t head_size, std::size_t n_max,
                          const std::function<void(const attention_memory&)>& each) {
  one_head(64, head_size).attend([] {}); // what the program loads once is not attention's
  for (std::size_t n = 64; n <= n_max; n *= 2) {
    one_head head(n, head_size);
    attention_memory line{.n = n};
    line.ours = added_bytes([&](const auto& look) { head.attend(look); });
    line.matrix = added_bytes([&](const auto& look) { head.attend_by_matrix(look); });
    each(line);
  }
}

} // namespace viva::bench
