// viva bench attention: exact attention beside what this machine multiplies and reads.

#include "cli/invocation.hpp"
#include "cli/lines.hpp"

#include "bench/attention_bench.hpp"
#include "bench/sgemm.hpp"
#include "cli/stamp.hpp"
#include "kernels/target.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <memory>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

struct attention_flags {
  bench::attention_bench_options options;
  std::vector<std::string> dtypes{"f32", "bf16"};
  std::size_t memory_length = 0;
  bool json_lines = false;
};

json json_of(const bench::attention_line& line) {
  const auto where_known = [](std::optional<double> x) { return x ? json(*x) : json(nullptr); };
  return stamped({{"n", line.of.keys},
                  {"queries", line.of.queries},
                  {"d", line.of.head_size},
                  {"h", line.of.heads},
                  {"causal", line.of.causal},
                  {"dtype", kernels::name_of(line.type)},
                  {"kv", line.kv},
                  {"threads", line.threads},
                  {"gflops", line.gflops},
                  {"ratio_to_peak", line.ratio_to_peak},
                  {"peak_gflops", line.peak_gflops},
                  {"sgemm_gflops", where_known(line.sgemm_gflops)},
                  {"gb_per_s", line.gb_per_s},
                  {"ratio_to_read", where_known(line.ratio_to_read)},
                  {"read_gb_per_s", where_known(line.read_gb_per_s)},
                  {"extra_bytes", line.extra_bytes},
                  {"isa", line.isa}});
}

std::string row_of(const bench::attention_line& line) {
  const auto read = line.ratio_to_read ? fmt::format("{:.3f}", *line.ratio_to_read) : "";
  const auto sgemm = line.sgemm_gflops ? fmt::format("{:.1f}", *line.sgemm_gflops) : "";
  return fmt::format("{:<8} {:<5} {:<5} {:>4} {:>7} {:>7} {:<6} {:>7} {:>9.1f} {:>7.3f} {:>7} "
                     "{:>7.2f} {:>7} {:>9}\n",
                     line.isa, kernels::name_of(line.type), line.kv, line.of.head_size,
                     line.of.queries, line.of.keys, line.of.causal ? "causal" : "full",
                     line.threads, line.gflops, line.ratio_to_peak, sgemm, line.gb_per_s, read,
                     line.extra_bytes);
}

void run_memory(const attention_flags& flags, lines& out) {
  if (!flags.json_lines)
    out.show(fmt::format("{:>7} {:>4} {:>12} {:>14}\n", "n", "d", "extra bytes", "with a matrix"));
  const auto head_size = flags.options.head_sizes.front();
  bench::run_attention_memory(head_size, flags.memory_length, [&](const auto& line) {
    if (flags.json_lines)
      out.show(json{{"n", line.n},
                    {"d", head_size},
                    {"extra_bytes", line.ours},
                    {"matrix_extra_bytes", line.matrix}}
                   .dump()
               + "\n");
    else
      out.show(
          fmt::format("{:>7} {:>4} {:>12} {:>14}\n", line.n, head_size, line.ours, line.matrix));
  });
}

expected<exit_code> run(attention_flags flags) {
  for (const auto head_size : flags.options.head_sizes)
    if (!kernels::attention::check({.head_size = head_size}))
      return fail(errc::bad_option,
                  "-d " + std::to_string(head_size) + " is no multiple of 8 from 32 to 256");
  const auto targets = kernels::simd_targets();
  const auto& isa = flags.options.isa;
  if (!isa.empty() && std::ranges::find(targets, isa) == targets.end())
    return fail(errc::bad_option, fmt::format("--isa {} is not here; there are: {}", isa,
                                              fmt::join(targets, ", ")));
  lines out;
  if (flags.memory_length != 0) {
    run_memory(flags, out);
    return out.end().map([] { return exit_code::done; });
  }
  std::erase(flags.options.methods, "none");
  flags.options.types.clear();
  for (const auto& word : flags.dtypes)
    flags.options.types.push_back(word == "f32"   ? kernels::dtype::f32
                                  : word == "f16" ? kernels::dtype::f16
                                                  : kernels::dtype::bf16);
  if (!flags.json_lines)
    out.show(
        fmt::format("{:<8} {:<5} {:<5} {:>4} {:>7} {:>7} {:<6} {:>7} {:>9} {:>7} {:>7} {:>7} "
                    "{:>7} {:>9}\n",
                    "isa", "type", "kv", "d", "queries", "keys", "mask", "threads", "GFLOP/s",
                    "x peak", "sgemm", "GB/s", "x read", "bytes"));
  if (!flags.json_lines && !bench::has_openblas())
    out.show("OpenBLAS (libopenblas.so.0) is not here: no sgemm beside it\n");
  bench::run_attention_bench(flags.options, [&](const bench::attention_line& line) {
    out.show(flags.json_lines ? json_of(line).dump() + "\n" : row_of(line));
  });
  return out.end().map([] { return exit_code::done; });
}

} // namespace

void add_bench_attention(CLI::App& group, invocation& call) {
  auto* app = group.add_subcommand(
      "attention", "exact attention beside this machine's multiply-adds and memory");
  auto flags = std::make_shared<attention_flags>();
  auto& options = flags->options;
  app->add_option("-n", options.lengths, "queries and keys (default: 512 2048 8192)")
      ->type_name("N");
  app->add_option("-d", options.head_sizes, "head sizes (default: 64 128)")->type_name("D");
  app->add_option("--dtype", flags->dtypes, "f32, bf16, f16 (default: f32 bf16)")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->type_name("TYPE");
  app->add_option("--kv", options.methods,
                  "methods of k and v beside f32 queries (default: q8_0 int8 fp8 nf4), or none")
      ->check(CLI::IsMember({"q8_0", "int8", "fp8", "nf4", "none"}))
      ->type_name("METHOD");
  app->add_option("--threads", options.threads, "pinned threads (default: 1 2)")
      ->check(CLI::Range(1, 256))
      ->type_name("N");
  app->add_option("--isa", options.isa, "instruction set, by Highway's name (default: the best)")
      ->type_name("NAME");
  app->add_option("--repetitions", options.repetitions, "the median is of so many (default 5)")
      ->check(CLI::Range(1, 1001))
      ->type_name("N");
  app->add_flag("!--no-decoding", options.decoding, "without one and two queries on many keys");
  app->add_option("--decoding-mebibytes", options.decoding_mebibytes,
                  "keys and values that those meet, where they are plain (default 256)")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("N");
  app->add_option("--memory", flags->memory_length,
                  "measure memory instead, of lengths 64 to N, beside a matrix of scores")
      ->type_name("N");
  app->add_flag("--json", flags->json_lines, "one JSON line for each case");
  app->callback([&call, flags] { call.run = [flags](const settings&) { return run(*flags); }; });
}

} // namespace viva::cli
