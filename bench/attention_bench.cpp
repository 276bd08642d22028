#include "bench/attention_bench.hpp"

#include "bench/bandwidth.hpp"
#include "bench/huge_buffer.hpp"
#include "bench/peak.hpp"
#include "bench/processor_time.hpp"
#include "bench/samples.hpp"
#include "bench/team.hpp"
#include "kernels/convert.hpp"
#include "kernels/target.hpp"

#include <algorithm>
#include <atomic>
#include <random>

namespace viva::bench {

namespace {

namespace attention = kernels::attention;
using kernels::dtype;

constexpr double sample_seconds_min = 0.02; ///< Shorter cases are repeated within a sample.

/// Packed rows of one tensor, of N(0, 1).
struct tensor {
  huge_buffer memory;
  attention::source_rows rows;
  std::size_t bytes;

  tensor(std::size_t heads, std::size_t count, std::size_t head_size, dtype type, unsigned seed)
      : memory(heads * count * head_size * bytes_of(type) + 1024),
        rows{memory.data(), type,
             attention::strides::packed(heads, count, head_size * bytes_of(type))},
        bytes(heads * count * head_size * bytes_of(type)) {
    // One block of 64 Ki values again and again: draws take longer than what is measured.
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> block((std::size_t{64} << 10) + 8);
    for (auto& x : block)
      x = normal(random);
    const std::size_t values = heads * count * head_size;
    for (std::size_t i = 0; i < values; i += block.size())
      kernels::store_f32(block.data(), type, std::min(block.size(), values - i),
                         memory.data() + i * bytes_of(type));
  }
};

struct attention_case {
  attention::shape of;
  dtype type;
  tensor q, k, v, out;

  attention_case(const attention::shape& shape, dtype as)
      : of(shape), type(as), q(of.heads, of.queries, of.head_size, as, 1),
        k(of.kv_heads, of.keys, of.head_size, as, 2), v(of.kv_heads, of.keys, of.head_size, as, 3),
        out(of.heads, of.queries, of.head_size, as, 4) {}

  double operations() const {
    const auto n = static_cast<double>(of.queries), keys = static_cast<double>(of.keys);
    const double pairs = of.causal ? n * keys - n * (n - 1) / 2 : n * keys;
    return 4.0 * static_cast<double>(of.head_size * of.heads) * pairs;
  }
  /// One run by all threads, which take pieces as they come; the seconds of the slowest.
  double seconds(team& threads, std::vector<kernels::scratch>& memory) const {
    std::atomic<std::size_t> next = 0;
    const std::size_t count = attention::pieces(of);
    const attention::inputs in{q.rows, k.rows, v.rows};
    const attention::outputs to{out.memory.data(), type, out.rows.bytes};
    return threads.seconds([&](unsigned part) {
      for (std::size_t i = next++; i < count; i = next++)
        static_cast<void>(attention::attend(of, in, to, i, 1, memory[part]));
    });
  }
};

/// Seconds that reading keys and values takes one thread.
double read_seconds(const attention_case& one, std::uint64_t& sum) {
  const double began = processor_seconds();
  sum += read_words(one.k.memory.data(), one.k.bytes / 1024 * 1024);
  sum += read_words(one.v.memory.data(), one.v.bytes / 1024 * 1024);
  return processor_seconds() - began;
}

/// What one thread multiplies of this type: bf16 is widened to f32 where it has no instruction.
double peak_of(dtype type) {
  const double pairs = type == dtype::bf16 ? pair_flops_per_s() : 0;
  return pairs > 0 ? pairs : fma_flops_per_s();
}

attention_line measure(const attention_case& one, unsigned threads, unsigned repetitions) {
  team workers(threads);
  std::vector<kernels::scratch> memory(threads);
  const bool decoding = one.of.queries <= 2;
  const double settled = one.seconds(workers, memory);
  const auto repeats = std::max(1u, static_cast<unsigned>(sample_seconds_min / settled));
  std::vector<double> seconds, peaks, reads;
  std::uint64_t sum = 0;
  for (unsigned i = 0; i < repetitions; ++i) {
    // Few queries are computed in f32, whatever their type.
    const double peak = (decoding ? fma_flops_per_s() : peak_of(one.type)) * threads;
    const double read = decoding ? read_seconds(one, sum) : 0;
    double taken = 0;
    for (unsigned r = 0; r < repeats; ++r)
      taken += one.seconds(workers, memory);
    seconds.push_back(taken / repeats);
    peaks.push_back(one.operations() / seconds.back() / peak);
    reads.push_back(read / seconds.back());
  }
  attention_line line;
  line.of = one.of;
  line.type = one.type;
  line.isa = kernels::simd_target();
  line.threads = threads;
  line.seconds = median(seconds);
  line.gflops = one.operations() / line.seconds / 1e9;
  line.gb_per_s = static_cast<double>(one.k.bytes + one.v.bytes) / line.seconds / 1e9;
  line.ratio_to_peak = median(peaks);
  if (decoding && sum != 0)
    line.ratio_to_read = median(reads);
  for (const auto& each : memory)
    line.extra_bytes += each.bytes();
  return line;
}

} // namespace

void run_attention_bench(const attention_bench_options& options,
                         const std::function<void(const attention_line&)>& each) {
  kernels::use_simd_target(options.isa);
  const auto all_threads = [&](const attention::shape& of, dtype type) {
    const attention_case one(of, type);
    for (const auto threads : options.threads)
      each(measure(one, threads, options.repetitions));
  };
  for (const auto type : options.types)
    for (const auto head_size : options.head_sizes) {
      for (const auto n : options.lengths)
        for (const bool causal : {false, true})
          all_threads({.heads = options.heads,
                       .kv_heads = options.heads,
                       .queries = n,
                       .keys = n,
                       .head_size = head_size,
                       .causal = causal},
                      type);
      // 256 MiB of keys and values.
      const std::size_t keys =
          (std::size_t{128} << 20) / options.heads / head_size / bytes_of(type);
      for (const std::size_t queries : {1, 2})
        if (options.decoding)
          all_threads({.heads = options.heads,
                       .kv_heads = options.heads,
                       .queries = queries,
                       .keys = keys,
                       .head_size = head_size},
                      type);
    }
  kernels::use_simd_target({});
}

} // namespace viva::bench
