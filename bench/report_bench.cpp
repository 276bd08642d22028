#include "bench/report_bench.hpp"

#include "actors/pipeline.hpp"
#include "bench/awq_outputs.hpp"
#include "bench/quality_bench.hpp"
#include "bench/samples.hpp"
#include "bench/timing.hpp"
#include "kernels/attention.hpp"
#include "kernels/registry.hpp"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <map>
#include <random>
#include <span>

namespace viva::bench {
namespace {

class report_maker {
public:
  explicit report_maker(const report_options& options)
      : x_options(options.throughput), x_attention_keys(options.attention_keys) {
  }

  expected<report> make() {
    for (const auto* method : {"int8-tensor", "int8", "q4_0", "nf4", "nf4-dq", "nvfp4", "awq",
                               "sparse24"})
      if (auto done = run_quality_bench(method, [&](const quality_line& line) {
            x_lines[{method, line.workload}] = line;
          });
          !done)
        return tl::unexpected(done.error());
    compression();
    errors();
    if (auto done = outputs(); !done)
      return tl::unexpected(done.error());
    sparsity();
    attention();
    if (auto done = throughput(); !done)
      return tl::unexpected(done.error());
    x_report.results_wrong = x_wrong;
    return std::move(x_report);
  }

private:
  void row(const char* section, std::string what, std::string claimed, std::string ours,
           std::string how) {
    x_report.rows.push_back(
      {section, std::move(what), std::move(claimed), std::move(ours), std::move(how)});
  }
  void bar(const char* plot, const char* unit, std::string label, std::optional<double> claimed,
           double ours) {
    x_report.bars.push_back({plot, unit, std::move(label), claimed, ours});
  }
  const quality_line& line(const char* method, std::string_view workload) const {
    return x_lines.at({method, std::string(workload)});
  }

  void compression() {
    struct claim {
      const char *method, *printed;
      std::optional<double> times;
    };
    for (const auto& [method, printed, times] :
         {claim{"int8-tensor", "", {}}, claim{"q4_0", "8.0x", 8.0}, claim{"nf4", "", {}},
          claim{"nf4-dq", "", {}}, claim{"nvfp4", "4.0x (8 bits: asymmetric uint4)", 4.0},
          claim{"awq", "7.7x", 7.7}}) {
      const double bits = line(method, uniform_workload).bits;
      row("Compression", method, printed, fmt::format("{:.2f}x FP32, {:.4f} bits", 32 / bits, bits),
          "bits of the packed planes, scales included, 1024 x 512");
      bar("compression", "x FP32", method, times, 32 / bits);
    }
    row("Compression", "70B weights in NF4", "9.3 GB",
        fmt::format("{:.1f} GB", 70e9 * line("nf4", uniform_workload).bits / 8e9),
        "computed: 70e9 weights at nf4's measured bits");
  }

  void errors() {
    struct claim {
      const char *method, *error, *sqnr;
      std::optional<double> db;
    };
    const claim claims[] = {{"int8-tensor", "", "19.98 dB (its logarithm ends at 19.977)", 19.98},
                            {"q4_0", "1.5 % (typed in)", "", {}},
                            {"nf4", "", "19.98 dB (its logarithm ends at 19.977)", 19.98},
                            {"nf4-dq", "3.9 % (never decoded)", "", {}},
                            {"nvfp4", "1.29 % (8 bits)", "", {}},
                            {"awq", "3.6 % (no search)", "13.72 dB", 13.72}};
    for (const auto& each : claims)
      row("Error", each.method, each.error,
          fmt::format("{:.2f} %", 100 * line(each.method, uniform_workload).mae),
          "100 x mean |x - x'| on U[0,1), 1024 x 512, as the report counted");
    for (const auto& each : claims) {
      const double db = line(each.method, narrow_workload).snr_db;
      row("SQNR", each.method, each.sqnr, fmt::format("{:.2f} dB", db), "N(0,0.3), 512 x 512");
      bar("sqnr", "dB", each.method, each.db, db);
    }
    const auto how = kernels::parse_recipe("int8-tensor", kernels::dtype::f32).value();
    row("SQNR", "theory for 8 bits", "6.02 N + 1.76 = 49.92 dB (holds for a sine)",
        fmt::format("{:.2f} dB", how.row->sqnr_db_theory(how, 1024, 512)),
        "computed: integral over N(0,1), scale by the largest of 1024 x 512");
  }

  expected<void> outputs() {
    const auto found = measure_awq_outputs(make_awq_layer(1));
    if (!found)
      return tl::unexpected(found.error());
    row("Error", "awq, of outputs", "3.6 % of weights (ratio fixed at 0.5, no search)",
        fmt::format("rounded {:.1f} %, ratio 0.5 {:.1f} %, searched {:.1f} %, and clipped {:.1f} %",
                    found->rounded, found->half, found->searched, found->clipped),
        "root mean square error of the outputs of 512 x 512, five inputs of 20 times the rest");
    return {};
  }

  void sparsity() {
    row("2:4", "error", "",
        fmt::format("{:.2f} %", 100 * line("sparse24", uniform_workload).mae),
        "100 x mean |x - x'| on U[0,1), 1024 x 512, as the report counted");
    const auto bits = [](const char* words, kernels::dtype type) {
      return kernels::bits_per_weight(kernels::parse_recipe(words, type).value(), 1024, 512);
    };
    const double f32 = bits("sparse24", kernels::dtype::f32);
    const double bf16 = bits("sparse24", kernels::dtype::bf16);
    row("2:4", "sparse24", "3.2x and 1.78x (two baselines)",
        fmt::format("{:.2f}x of FP32, {:.2f}x of FP16", 32 / f32, 16 / bf16),
        "bits of kept values and bitmask against a source of the same type");
    const double stack = bits("sparse24+nf4", kernels::dtype::bf16);
    row("Stack", "NF4 + 2:4", "14.24x (impossible: metadata does not shrink)",
        fmt::format("{:.2f}x FP32, {:.3f} bits", 32 / stack, stack),
        "bits of sparse24+nf4's planes; the ceiling is 10.67x");
    bar("compression", "x FP32", "sparse24+nf4", 14.24, 32 / stack);
    const double whole = bits("sparse24+int8", kernels::dtype::bf16);
    row("Stack", "INT8 + 2:4", "", fmt::format("{:.2f}x FP32, {:.3f} bits", 32 / whole, whole),
        "bits of sparse24+int8's planes; the ceiling is 6.4x");
    bar("compression", "x FP32", "sparse24+int8", {}, 32 / whole);
  }

  // Memory beyond q, k, v and out: scratch of a thread and the log-sum-exp of each query.
  void attention() {
    using namespace kernels::attention;
    constexpr std::size_t head_size = 64;
    for (const auto n : x_attention_keys) {
      std::vector<float> rows(n * head_size), out(n * head_size), lse(n);
      std::mt19937 random(1);
      std::normal_distribution<float> normal;
      for (auto& x : rows)
        x = normal(random);
      shape s;
      s.queries = s.keys = n;
      s.head_size = head_size;
      s.causal = true;
      const auto bytes = strides::packed(1, n, head_size * sizeof(float));
      const source_rows same{reinterpret_cast<const std::byte*>(rows.data()), kernels::dtype::f32,
                             bytes};
      kernels::scratch memory;
      const auto done = attend(s, {same, same, same, {}},
                               {reinterpret_cast<std::byte*>(out.data()), kernels::dtype::f32,
                                bytes, lse.data()},
                               0, pieces(s), memory);
      const auto used = memory.bytes() + lse.size() * sizeof(float);
      row("Attention", fmt::format("memory at n = {}, d = 64, causal", n),
          "16 KB at any length (a constant; causal leaks up to 127 keys)",
          done ? fmt::format("{:.1f} KiB; scores would take {} KiB", double(used) / 1024,
                             n * n * sizeof(float) / 1024)
               : "refused",
          "scratch of one thread and 4 n bytes of log-sum-exp, after a run of one head");
      bar("attention", "KiB besides q, k, v and out", fmt::format("n = {}", n), 16,
          double(used) / 1024);
    }
  }

  expected<void> throughput() {
    const auto r = measure_throughput(x_options);
    if (!r)
      return tl::unexpected(r.error());
    x_wrong += r->results_wrong;
    const auto work = fmt::format("viva bench throughput: {} x {} f32, {}, {} lanes, {} compared",
                                  x_options.tensors, x_options.values, x_options.method,
                                  x_options.lanes,
                                  r->results_wrong == 0 ? "every result" : "NOT ALL EQUAL,");
    const auto millions = [](double per_s) { return fmt::format("{:.2f} M/s", per_s / 1e6); };
    row("Throughput", "tensors of 512 floats", "200K/s (clock begun late, 1,000 tensors)",
        fmt::format("{} = {:.0f}x; {:.2f} of a bare loop", millions(r->tensors_per_s),
                    r->tensors_per_s / 200e3, r->ratio_to_bare),
        work);
    row("Throughput", "one tensor a message", "one unsupervised process each",
        millions(r->single_per_s), work);
    row("Throughput", "Candle, Burn",
        "Candle 186K/s and 120K/s, Burn 280K/s (typed in, no unit, no log)", "not measured",
        "no harness of theirs is here; the bare loop stands for the machine's limit");
    each_method();
    row("Throughput", "latency at half load", "",
        fmt::format("p50 {:.0f} us, p99 {:.0f} us", r->p50_us, r->p99_us), work);
    row("Features", "fault tolerance", "\"by OTP\" (no supervisor, link or monitor in it)",
        fmt::format("{} deaths: {:.2f} of undisturbed, {} wrong results", r->killed_restarts,
                    r->killed_ratio, r->results_wrong),
        fmt::format("a lane killed in the midst of a batch every {} ms", x_options.kill_ms));
    auto apart = x_options;
    apart.lanes_are = isolation::process;
    const auto p = measure_throughput(apart);
    if (!p)
      return tl::unexpected(p.error());
    x_wrong += p->results_wrong;
    row("Features", "isolation", "",
        fmt::format("lanes are processes: {}, {:.2f} of a bare loop; {} deaths: {:.2f} of "
                    "undisturbed, {} wrong results",
                    millions(p->tensors_per_s), p->ratio_to_bare, p->killed_restarts,
                    p->killed_ratio, p->results_wrong),
        fmt::format("the same with --isolation process, a process killed every {} ms",
                    x_options.kill_ms));
    row("Features", "bounded memory", "",
        "submits wait, refuse or suspend; a stopped consumer stops the producer",
        "not measured here; viva_actors_tests: \"a stopped consumer stops the producer, and memory "
        "stays flat\"");
    bar("throughput", "M tensors/s", "bare loop", {}, r->bare_per_s / 1e6);
    bar("throughput", "M tensors/s", "pipeline", 0.2, r->tensors_per_s / 1e6);
    bar("throughput", "M tensors/s", "with kills", {}, r->killed_per_s / 1e6);
    bar("throughput", "M tensors/s", "one a message", {}, r->single_per_s / 1e6);
    bar("throughput", "M tensors/s", "lane processes", {}, p->tensors_per_s / 1e6);
    return {};
  }

  /// The throughput column of the report, whose figures were typed in. The same data for all.
  void each_method() {
    const std::size_t count = std::min<std::uint64_t>(x_options.tensors, 100'000);
    std::vector<float> numbers(count * x_options.values);
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (auto& x : numbers)
      x = normal(random);
    std::vector<tensor_view> views;
    for (std::size_t i = 0; i < count; ++i)
      views.push_back(
        view_of(std::span<const float>(numbers).subspan(i * x_options.values, x_options.values)));
    pipeline pipe{{.lanes = x_options.lanes}};
    for (const auto* method : {"int8-tensor", "q4_0", "nf4", "nf4-dq", "nvfp4", "awq"}) {
      std::vector<double> per_s;
      std::size_t good = count;
      for (std::uint32_t round = 0; round < x_options.rounds; ++round) {
        std::size_t home = 0;
        const auto began = clock::now();
        for (auto&& [index, result] : pipe.stream(views, method))
          home += result.has_value();
        per_s.push_back(static_cast<double>(count) / (us_since(began) / 1e6));
        good = std::min(good, home);
      }
      row("Throughput", method, "typed in, no unit, no log",
          good == count ? fmt::format("{:.2f} M/s", median(per_s) / 1e6) : "not all were encoded",
          fmt::format("{} x {} f32 of N(0,1) streamed to {} lanes, every result received, median "
                      "of {}",
                      count, x_options.values, x_options.lanes, x_options.rounds));
      if (good == count)
        bar("methods", "M tensors/s", method, {}, median(per_s) / 1e6);
    }
  }

  const throughput_options x_options;
  const std::vector<std::size_t> x_attention_keys;
  std::map<std::pair<std::string, std::string>, quality_line> x_lines;
  report x_report;
  std::uint64_t x_wrong = 0;
};

} // namespace

expected<report> run_report_bench(const report_options& options) {
  return report_maker(options).make();
}

} // namespace viva::bench
