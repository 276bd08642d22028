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

/// A line of this process's status, in bytes: "VmRSS" now, "VmHWM" the peak.
std::uint64_t status_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name + ":")) {
      std::istringstream words(line.substr(name.size() + 1));
      std::uint64_t kib = 0;
      words >> kib;
      return kib * 1024;
    }
  return 0;
}

/// Resident bytes that `work` adds at its peak.
template <class Work>
std::uint64_t peak_bytes(const Work& work) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << 5; // the peak starts again from here
  const auto before = status_bytes("VmRSS");
  work();
  const auto peak = status_bytes("VmHWM");
  return peak > before ? peak - before : 0;
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
  void attend() {
    kernels::scratch memory;
    std::vector<float> lse(of.queries);
    const auto packed = rows(out).bytes;
    static_cast<void>(attention::attend(
        of, {rows(q), rows(k), rows(v)},
        {reinterpret_cast<std::byte*>(out.data()), kernels::dtype::f32, packed, lse.data()}, 0,
        attention::pieces(of), memory));
  }
  /// The textbook's: all scores, all weights, then the sums.
  void attend_by_matrix() {
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
  }
};

} // namespace

void run_attention_memory(std::size_t head_size, std::size_t n_max,
                          const std::function<void(const attention_memory&)>& each) {
  one_head(64, head_size).attend(); // what the program loads once is not attention's
  for (std::size_t n = 64; n <= n_max; n *= 2) {
    one_head head(n, head_size);
    attention_memory line{.n = n};
    line.ours = peak_bytes([&] { head.attend(); });
    line.matrix = peak_bytes([&] { head.attend_by_matrix(); });
    each(line);
  }
}

} // namespace viva::bench
