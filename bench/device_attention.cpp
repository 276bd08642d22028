// Attention on a device: how exact at lengths that fill it, and how fast.

#include "bench/device_bench.hpp"
#include "kernels/cuda_attention.hpp"

#include <cmath>

namespace viva::bench {

using namespace kernels;
using place = device_bytes::place;

namespace {

/// q, k, v (heads, n, head_size) and what comes of them, on the device and on the host.
struct attention_problem {
  attention::shape of;
  dtype type;
  std::vector<std::byte> q, k, v, out;
  device_bytes on_q, on_k, on_v, on_out;
  attention::inputs in; ///< Of the device.
  attention::outputs to;

  attention_problem(device_stream& stream, const attention::shape& shape, dtype as)
      : of(shape), type(as) {
    const std::size_t values = of.heads * of.keys * of.head_size, bytes = values * bytes_of(as);
    const auto all = values_of(3 * values, as);
    const auto part = [&](std::size_t i) {
      return std::vector<std::byte>(all.begin() + static_cast<std::ptrdiff_t>(i * bytes),
                                    all.begin() + static_cast<std::ptrdiff_t>((i + 1) * bytes));
    };
    q = part(0), k = part(1), v = part(2);
    out.resize(bytes);
    for (auto* each : {&on_q, &on_k, &on_v, &on_out})
      *each = device_bytes(place::device, bytes);
    const auto packed = attention::strides::packed(of.heads, of.keys, of.head_size * bytes_of(as));
    in = {{on_q.data(), as, packed}, {on_k.data(), as, packed}, {on_v.data(), as, packed}};
    to = {on_out.data(), as, packed};
    for (const auto& [host, device] : {std::pair{&q, &on_q}, {&k, &on_k}, {&v, &on_v}})
      stream.copy_in(host->data(), device->data(), bytes);
    if (stream.finish() != 0)
      stop("the device has no room for attention");
  }

  /// |out - exact| / |exact| of one row.
  double error_of(std::size_t head, std::size_t query) const {
    auto one = of;
    one.heads = one.kv_heads = one.queries = 1;
    one.keys = of.causal ? query + 1 : of.keys;
    const std::size_t row = of.head_size * bytes_of(type), begin = head * of.keys * row;
    attention::inputs here{{q.data() + begin, type, {0, 0, row}},
                           {k.data() + begin, type, {0, 0, row}},
                           {v.data() + begin, type, {0, 0, row}}};
    here.q.skipped = query;
    std::vector<double> exact(of.head_size);
    std::vector<float> got(of.head_size);
    (void)attention::attend_reference(one, here, exact.data(), nullptr);
    load_f32(out.data() + begin + query * row, type, of.head_size, got.data());
    double error = 0, size = 0;
    for (std::size_t i = 0; i < of.head_size; ++i) {
      error += std::pow(static_cast<double>(got[i]) - exact[i], 2);
      size += exact[i] * exact[i];
    }
    return std::sqrt(error / size);
  }
};

} // namespace

int check_attention() {
  if (use_device(0) != 0)
    stop(find_devices().why);
  device_stream stream;
  bool good = true;
  for (const auto type : {dtype::f32, dtype::f16, dtype::bf16})
    for (const std::size_t head_size : {64u, 128u, 256u})
      for (const bool causal : {false, true}) {
        constexpr std::size_t n = 4'101;
        attention_problem made(stream,
                               {.heads = 2, .kv_heads = 2, .queries = n, .keys = n,
                                .head_size = head_size, .causal = causal},
                               type);
        const auto queued = attention::queue_attend(stream, made.of, made.in, made.to);
        stream.copy_out(made.to.out, made.out.data(), made.out.size());
        const int answer = stream.finish();
        double worst = queued && answer == 0 ? 0 : 1;
        for (const std::size_t query : {0u, 1u, 63u, 64u, 2'000u, 4'100u})
          worst = std::max({worst, made.error_of(0, query), made.error_of(1, query)});
        const double bound = type == dtype::f32 ? 2e-6 : type == dtype::f16 ? 5e-4 : 4e-3;
        const bool fine = worst <= bound; // false for NaN, too
        good = good && fine;
        std::printf("attention %s, head size %zu%s: error %.2g, bound %.2g%s\n",
                    name_of(type).data(), head_size, causal ? ", causal" : "", worst, bound,
                    fine ? "" : " FAILS");
      }
  std::printf("%s\n", good ? "attention is within its bound" : "attention is NOT within its bound");
  return good ? 0 : 1;
}

void attention_speed(device_stream& stream) {
  std::fprintf(stderr, "\n| attention | n | head size | TFLOP/s |\n|---|---|---|---|\n");
  for (const auto type : {dtype::bf16, dtype::f32})
    for (const std::size_t head_size : {64u, 128u})
      for (const bool causal : {false, true}) {
        const std::size_t n = type == dtype::f32 ? 2'048 : 8'192;
        const attention_problem made(stream,
                                     {.heads = 16, .kv_heads = 16, .queries = n, .keys = n,
                                      .head_size = head_size, .causal = causal},
                                     type);
        const double spent = milliseconds(
            stream, [&](int) { (void)attention::queue_attend(stream, made.of, made.in, made.to); });
        const auto pairs = static_cast<double>(causal ? n * (n + 1) / 2 : n * n);
        const double rate = 4 * pairs * static_cast<double>(head_size * 16) / spent / 1e9;
        std::printf("{\"attention\":\"%s\",\"n\":%zu,\"head_size\":%zu,\"causal\":%s,"
                    "\"tflop_per_s\":%.1f}\n",
                    name_of(type).data(), n, head_size, causal ? "true" : "false", rate);
        std::fprintf(stderr, "| %s%s | %zu | %zu | %.0f |\n", name_of(type).data(),
                     causal ? ", causal" : "", n, head_size, rate);
      }
}

} // namespace viva::bench
