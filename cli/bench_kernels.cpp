// viva bench kernels: how fast this machine encodes and decodes, beside its own memory bandwidth.

#include "cli/bytes.hpp"
#include "cli/invocation.hpp"
#include "cli/lines.hpp"

#include "bench/kernels_bench.hpp"
#include "cli/stamp.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <memory>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

struct kernels_flags {
  bench::kernels_bench_options options;
  std::string dtype = "f32", file;
  bool quick = false;
};

kernels::dtype dtype_of(const std::string& word) {
  return word == "f16"    ? kernels::dtype::f16
         : word == "bf16" ? kernels::dtype::bf16
                          : kernels::dtype::f32;
}

json json_of(const bench::bench_line& line) {
  const auto ratio = [](const std::optional<double>& r) { return r ? json(*r) : json(nullptr); };
  return stamped({{"method", line.method},
                  {"op", line.op},
                  {"path", line.path},
                  {"isa", line.isa},
                  {"dtype", kernels::name_of(line.type)},
                  {"values", line.values},
                  {"threads", line.threads},
                  {"values_per_s", line.values_per_s},
                  {"mad", line.mad},
                  {"bytes_per_s", line.bytes_per_s},
                  {"ratio_to_limit", ratio(line.ratio_to_limit)},
                  {"ratio_to_reference", ratio(line.ratio_to_reference)}});
}

std::string row_of(const bench::bench_line& line) {
  const auto ratio = [](const std::optional<double>& r, int digits) {
    return r ? fmt::format("{:.{}f}", *r, digits) : std::string();
  };
  return fmt::format("{:<25} {:<8} {:<9} {:<8} {:>10} {:>9.3f} {:>7.3f} {:>8.2f} {:>9} {:>10}\n",
                     line.method, line.op, line.path, line.isa, line.values,
                     line.values_per_s / 1e9, line.mad / 1e9, line.bytes_per_s / 1e9,
                     ratio(line.ratio_to_limit, 3), ratio(line.ratio_to_reference, 1));
}

expected<exit_code> run(const kernels_flags& flags) {
  auto options = flags.options;
  options.type = dtype_of(flags.dtype);
  if (flags.quick) {
    options.repetitions = 3;
    options.values = options.values != 0 ? options.values : std::uint64_t{4} << 20;
  }
  lines out;
  if (auto opened = out.open(flags.file); !opened)
    return tl::make_unexpected(opened.error());
  out.show(fmt::format("{:<25} {:<8} {:<9} {:<8} {:>10} {:>9} {:>7} {:>8} {:>9} {:>10}\n", "method",
                       "op", "path", "isa", "values", "Gvalues/s", "mad", "GB/s", "x limit",
                       "x reference"));
  const auto done = bench::run_kernels_bench(options, [&](const bench::bench_line& line) {
    out.keep(json_of(line).dump());
    out.show(row_of(line));
  });
  if (!done)
    return tl::make_unexpected(done.error());
  return out.end().map([] { return exit_code::done; });
}

} // namespace

void add_bench_kernels(CLI::App& group, invocation& call) {
  auto* app = group.add_subcommand(
      "kernels", "values per second of every method beside the machine's memory bandwidth");
  auto flags = std::make_shared<kernels_flags>();
  auto& options = flags->options;
  app->add_option("-m,--method", options.method, "one method with its options (default: all)")
      ->type_name("METHOD");
  app->add_flag("--weighed", options.weighed, "columns of that method weigh differently (--stats)")
      ->needs("--method");
  app->add_option("--only", options.only, "one operation (default: all)")
      ->check(CLI::IsMember({"encode", "measure", "decode", "survey", "scales"}))
      ->type_name("OP");
  app->add_option("--values", options.values,
                  "one size (default: 262144, then 67108864, or more where caches are larger)")
      ->type_name("N");
  app->add_option("--dtype", flags->dtype, "of the source: f32 (default), bf16 or f16")
      ->check(CLI::IsMember({"f32", "bf16", "f16"}))
      ->type_name("TYPE");
  app->add_option("--threads", options.threads, "pinned threads that share one stream (default 1)")
      ->check(CLI::Range(1, 256))
      ->type_name("N");
  app->add_option("--repetitions", options.repetitions, "the median is of so many (default 9)")
      ->check(CLI::Range(1, 1001))
      ->type_name("N");
  app->add_flag("--quick", flags->quick, "three repetitions of 4 Mi values: a look, no figure");
  // The house's --json is one document; lines go to a file.
  app->add_option("--json", flags->file, "also write one JSON line for each case to this file")
      ->type_name("FILE");
  app->callback([&call, flags] { call.run = [flags](const settings&) { return run(*flags); }; });
}

} // namespace viva::cli
