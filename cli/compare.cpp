// viva compare A B: how far B is from A, tensor by tensor, worst first.

#include "cli/invocation.hpp"
#include "cli/report.hpp"

#include <memory>

namespace viva::cli {

void add_compare(CLI::App& root, invocation& call) {
  struct compare_flags {
    std::string a, b;
    report_options report;
    node_flags machines;
  };
  auto* app =
      root.add_subcommand("compare", "errors of checkpoint B against A, worst tensor first");
  auto flags = std::make_shared<compare_flags>();
  app->add_option("A", flags->a, "the checkpoint to measure against")->required();
  app->add_option("B", flags->b, "the checkpoint to measure; may be quantized")->required();
  add_report_flags(*app, flags->report);
  add_progress_flags(*app, call);
  add_setting_flags(*app, call, {"lanes", "max_memory", "shard_bytes", "attempts", "isolation",
                                  "stall_seconds"});
  add_node_flags(*app, call, flags->machines);
  add_common_flags(*app, call);
  app->callback([&call, flags] {
    call.run = [&call, flags](const settings& in_force) {
      compare_spec spec{.a = flags->a, .b = flags->b, .limits = in_force.limits()};
      flags->machines.apply(spec.limits);
      return run_job(call, flags->report, {}, {{spec.a, spec.b}, {}}, "compare",
                     [spec](const job_observer& observer) { return run_compare(spec, observer); });
    };
  });
}

} // namespace viva::cli
