#include "bench/attention_bench.hpp"

#include "bench/bandwidth.hpp"
#include "bench/huge_buffer.hpp"
#include "bench/peak.hpp"
#include "bench/processor_time.hpp"
#include "bench/samples.hpp"
#include "bench/sgemm.hpp"
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

/// Values of N(0, 1): one block again and again, as draws take longer than what is measured.
std::vector<float> normal_block(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> block(count);
  for (auto& x : block)
    x = normal(random);
  return block;
}

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
    const auto block = normal_block((std::size_t{64} << 10) + 8, seed);
    const std::size_t values = heads * count * head_size;
    for (std::size_t i = 0; i < values; i += block.size())
      kernels::store_f32(block.data(), type, std::min(block.size(), values - i),
                         memory.data() + i * bytes_of(type));
  }
};

/// The same, encoded by a method that asks nothing of the whole tensor.
struct encoded_tensor {
  attention::encoded_tensor lies;
  huge_buffer memory;
  attention::source_rows rows;
  std::size_t bytes = 0;

  encoded_tensor(const attention::shape& of, const kernels::recipe& how, unsigned seed)
      : lies(attention::encoded_tensor::packed(how, 1, of.kv_heads, of.keys, of.head_size)),
        memory(lies.rows_count * lies.cols * sizeof(float) + 1024) {
    const auto shape = how.row->shape(how, lies.cols);
    std::array<std::byte*, kernels::planes_max> planes{};
    for (std::size_t p = 0; p < shape.planes_count; ++p) {
      lies.planes[p] = planes[p] = memory.data() + bytes;
      bytes += (shape.planes[p].bytes(0, lies.rows_count, lies.cols) + 63) / 64 * 64;
    }
    const std::size_t run = 1024; // rows, a multiple of every method's grain
    const auto block = normal_block(run * lies.cols, seed);
    for (std::size_t row = 0; row < lies.rows_count; row += run) {
      std::array<std::byte*, kernels::planes_max> to{};
      for (std::size_t p = 0; p < shape.planes_count; ++p)
        to[p] = planes[p] + shape.planes[p].offset(row, lies.cols);
      const kernels::matrix in{reinterpret_cast<const std::byte*>(block.data()), dtype::f32,
                               std::min(run, lies.rows_count - row), lies.cols};
      static_cast<void>(how.row->encode_simd(how, in, {}, {to.data(), shape.planes_count}));
    }
    rows.encoded = &lies;
  }
  encoded_tensor(const encoded_tensor&) = delete;
};

/// k or v of a case: plain, or encoded.
struct kv_tensor {
  std::optional<tensor> plain;
  std::optional<encoded_tensor> encoded;

  kv_tensor(const attention::shape& of, dtype type, const std::string& method, unsigned seed) {
    if (method.empty())
      plain.emplace(of.kv_heads, of.keys, of.head_size, type, seed);
    else
      encoded.emplace(of, *kernels::parse_recipe(method, dtype::f32), seed);
  }
  const attention::source_rows& rows() const {
    return plain ? plain->rows : encoded->rows;
  }
  const std::byte* data() const {
    return plain ? plain->memory.data() : encoded->memory.data();
  }
  std::size_t bytes() const {
    return plain ? plain->bytes : encoded->bytes;
  }
};

struct attention_case {
  attention::shape of;
  dtype type;
  std::string method;
  tensor q;
  kv_tensor k, v;
  tensor out;

  attention_case(const attention::shape& shape, dtype as, const std::string& kv)
      : of(shape), type(as), method(kv), q(of.heads, of.queries, of.head_size, as, 1),
        k(of, as, kv, 2), v(of, as, kv, 3), out(of.heads, of.queries, of.head_size, as, 4) {}

  double operations() const {
    const auto n = static_cast<double>(of.queries), keys = static_cast<double>(of.keys);
    const double pairs = of.causal ? n * keys - n * (n - 1) / 2 : n * keys;
    return 4.0 * static_cast<double>(of.head_size * of.heads) * pairs;
  }
  /// One run by all threads, which take pieces as they come; the seconds of the slowest.
  double seconds(team& threads, std::vector<kernels::scratch>& memory) const {
    std::atomic<std::size_t> next = 0;
    const std::size_t count = attention::pieces(of);
    const attention::inputs in{q.rows, k.rows(), v.rows()};
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
  for (const auto* side : {&one.k, &one.v})
    sum += read_words(side->data(), side->bytes() / 1024 * 1024);
  return processor_seconds() - began;
}

/// What one thread multiplies of this type, by its fastest unit.
double peak_of(dtype type) {
  const double f32 = fma_flops_per_s();
  return type == dtype::bf16 ? std::max({f32, pair_flops_per_s(), tile_flops_per_s()}) : f32;
}

attention_line measure(const attention_case& one, unsigned threads, unsigned repetitions) {
  team workers(threads);
  std::vector<kernels::scratch> memory(threads);
  const bool decoding = one.of.queries <= 2;
  const double settled = one.seconds(workers, memory);
  const auto repeats = std::max(1u, static_cast<unsigned>(sample_seconds_min / settled));
  std::vector<double> seconds, peaks, peak_rates, reads, read_rates;
  std::uint64_t sum = 0;
  for (unsigned i = 0; i < repetitions; ++i) {
    // Few queries are computed in f32, whatever their type.
    const double peak = (decoding ? fma_flops_per_s() : peak_of(one.type)) * threads;
    const double read = decoding ? read_seconds(one, sum) : 0;
    double taken = 0;
    for (unsigned r = 0; r < repeats; ++r)
      taken += one.seconds(workers, memory);
    seconds.push_back(taken / repeats);
    peak_rates.push_back(peak);
    peaks.push_back(one.operations() / seconds.back() / peak);
    if (decoding)
      read_rates.push_back(static_cast<double>(one.k.bytes() + one.v.bytes()) / read);
    reads.push_back(read / seconds.back());
  }
  attention_line line;
  line.of = one.of;
  line.type = one.type;
  line.kv = one.method.empty() ? std::string(kernels::name_of(one.type)) : one.method;
  line.isa = kernels::simd_target();
  line.threads = threads;
  line.seconds = median(seconds);
  line.gflops = one.operations() / line.seconds / 1e9;
  line.gb_per_s = static_cast<double>(one.k.bytes() + one.v.bytes()) / line.seconds / 1e9;
  line.peak_gflops = median(peak_rates) / 1e9;
  line.ratio_to_peak = median(peaks);
  if (decoding && sum != 0) {
    line.read_gb_per_s = median(read_rates) / 1e9;
    line.ratio_to_read = median(reads);
  }
  if (!decoding && !one.of.causal && one.method.empty() && one.type == dtype::f32 && threads == 1)
    if (const auto rate = sgemm_flops_per_s(one.of.keys, one.of.head_size, repetitions))
      line.sgemm_gflops = *rate / 1e9;
  for (const auto& each : memory)
    line.extra_bytes += each.bytes();
  return line;
}

} // namespace

void run_attention_bench(const attention_bench_options& options,
                         const std::function<void(const attention_line&)>& each) {
  kernels::use_simd_target(options.isa);
  const auto all_threads = [&](const attention::shape& of, dtype type, const std::string& kv) {
    const attention_case one(of, type, kv);
    for (const auto threads : options.threads)
      each(measure(one, threads, options.repetitions));
  };
  const auto all_shapes = [&](std::size_t head_size, dtype type, const std::string& kv) {
    attention::shape of{.heads = options.heads, .kv_heads = options.heads, .head_size = head_size};
    for (const auto n : options.lengths)
      for (const bool causal : {false, true}) {
        of.queries = of.keys = n;
        of.causal = causal;
        if (kv.empty() || !causal)
          all_threads(of, type, kv);
      }
    of.causal = false;
    of.keys =
      (options.decoding_mebibytes << 19) / options.heads / head_size / bytes_of(type); // k alone
    for (const std::size_t queries : {1, 2}) {
      of.queries = queries;
      if (options.decoding)
        all_threads(of, type, kv);
    }
  };
  for (const auto type : options.types)
    for (const auto head_size : options.head_sizes) {
      all_shapes(head_size, type, {});
      for (const auto& method : options.methods)
        if (type == dtype::f32)
          all_shapes(head_size, type, method);
    }
  kernels::use_simd_target({});
}

} // namespace viva::bench
