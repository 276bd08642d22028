// viva bench quality: what every method does to values, beside what the report claimed.

#include "cli/invocation.hpp"
#include "cli/lines.hpp"

#include "bench/quality_bench.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <memory>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

json json_of(const bench::quality_line& line) {
  const auto optional_of = [](const std::optional<double>& x) {
    return x ? json(*x) : json(nullptr);
  };
  return {{"workload", line.workload},
          {"method", line.method},
          {"bits_per_weight", line.bits},
          {"rel_rms", line.rel_rms},
          {"sqnr_db", line.snr_db},
          {"cosine", line.cosine},
          {"mae", line.mae},
          {"target_db", optional_of(line.target_db)},
          {"theory_db", optional_of(line.theory_db)},
          {"report", line.claim}};
}

std::string head_of(const std::string& workload) {
  return fmt::format("{}\n{:<22} {:>8} {:>6} {:>6} {:>9} {:>7} {:>8} {:>9} {:>7} {:>7} {:>7}  {}\n",
                     workload, "method", "bits/w", "x FP32", "x FP16", "rel.RMS %", "SQNR dB",
                     "cosine", "mean |e|", "stated", "differs", "theory", "the report printed");
}

std::string row_of(const bench::quality_line& line) {
  const auto cell = [](const std::optional<double>& x) {
    return x ? fmt::format("{:.2f}", *x) : std::string();
  };
  const auto differs =
      line.target_db ? fmt::format("{:+.2f}", line.snr_db - *line.target_db) : std::string();
  return fmt::format("{:<22} {:>8.4f} {:>6.2f} {:>6.2f} {:>9.3f} {:>7.2f} {:>8.6f} {:>9.5f} {:>7} "
                     "{:>7} {:>7}  {}\n",
                     line.method, line.bits, 32 / line.bits, 16 / line.bits, 100 * line.rel_rms,
                     line.snr_db, line.cosine, line.mae, cell(line.target_db), differs,
                     cell(line.theory_db), line.claim);
}

expected<exit_code> run(const std::string& method, bool json_lines) {
  std::string workload;
  lines out;
  const auto done = bench::run_quality_bench(method, [&](const bench::quality_line& line) {
    if (json_lines) {
      out.show(json_of(line).dump() + "\n");
      return;
    }
    if (workload != line.workload)
      out.show((workload.empty() ? "" : "\n") + head_of(line.workload));
    workload = line.workload;
    out.show(row_of(line));
  });
  if (!done)
    return tl::make_unexpected(done.error());
  return out.end().map([] { return exit_code::done; });
}

} // namespace

void add_bench_quality(CLI::App& group, invocation& call) {
  auto* app = group.add_subcommand(
      "quality", "bits and errors of every method on N(0,1) and on the report's workloads");
  struct quality_flags {
    std::string method;
    bool json_lines = false;
  };
  auto flags = std::make_shared<quality_flags>();
  app->add_option("-m,--method", flags->method, "one method with its options (default: all)")
      ->type_name("METHOD");
  app->add_flag("--json", flags->json_lines, "one JSON line for each method and workload");
  app->callback([&call, flags] {
    call.run = [flags](const settings&) { return run(flags->method, flags->json_lines); };
  });
}

} // namespace viva::cli
