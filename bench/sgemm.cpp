#include "bench/sgemm.hpp"

#include "bench/huge_buffer.hpp"
#include "bench/processor_time.hpp"
#include "bench/samples.hpp"

#include <algorithm>
#include <vector>

#include <dlfcn.h>

namespace viva::bench {

namespace {

/// cblas_sgemm: order, transposes, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc.
using sgemm_fn = void(int, int, int, int, int, int, float, const float*, int, const float*, int,
                      float, float*, int);
constexpr int row_major = 101, as_it_is = 111, transposed = 112;

sgemm_fn* load_sgemm() {
  void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL); // stays for the program's life
  if (library == nullptr)
    return nullptr;
  if (auto* threads = reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads")))
    threads(1);
  return reinterpret_cast<sgemm_fn*>(dlsym(library, "cblas_sgemm"));
}

sgemm_fn* sgemm() {
  static sgemm_fn* const found = load_sgemm();
  return found;
}

} // namespace

bool has_openblas() {
  return sgemm() != nullptr;
}

std::optional<double> sgemm_flops_per_s(std::size_t n, std::size_t d, unsigned repetitions) {
  if (!has_openblas())
    return {};
  const auto rows = [](std::size_t count, float first) {
    std::vector<float> values(count);
    for (auto& x : values)
      x = first = first * 1.7f - static_cast<float>(static_cast<int>(first * 1.7f));
    return values;
  };
  const auto q = rows(n * d, 0.3f), k = rows(n * d, 0.4f), v = rows(n * d, 0.6f);
  std::vector<float> out(n * d);
  const huge_buffer memory(n * n * sizeof(float));
  auto* scores = reinterpret_cast<float*>(memory.data());
  const int length = static_cast<int>(n), width = static_cast<int>(d);
  const double operations = 4.0 * static_cast<double>(n) * static_cast<double>(n * d);
  std::vector<double> rates;
  for (unsigned i = 0; i <= repetitions; ++i) {
    const double began = processor_seconds();
    double taken = 0;
    unsigned times = 0;
    for (; taken < 0.02; taken = processor_seconds() - began, ++times) {
      sgemm()(row_major, as_it_is, transposed, length, length, width, 1, q.data(), width, k.data(),
              width, 0, scores, length);
      sgemm()(row_major, as_it_is, as_it_is, length, width, length, 1, scores, length, v.data(),
              width, 0, out.data(), width);
    }
    if (i != 0) // the first run maps pages
      rates.push_back(operations * times / taken);
  }
  return median(rates);
}

} // namespace viva::bench
