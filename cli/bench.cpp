// viva bench: what this machine does. The measurements are bench/'s; here they are only printed.

#include "cli/invocation.hpp"

namespace viva::cli {

void add_bench(CLI::App& root, invocation& call) {
  auto* group = root.add_subcommand(
      "bench",
      "measure this machine: attention, kernels, nodes, quality, supervision, throughput, report");
  group->require_subcommand(1);
  add_bench_attention(*group, call);
  add_bench_kernels(*group, call);
  add_bench_nodes(*group, call);
  add_bench_quality(*group, call);
  add_bench_report(*group, call);
  add_bench_supervision(*group, call);
  add_bench_throughput(*group, call);
}

} // namespace viva::cli
