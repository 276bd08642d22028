// viva dequantize SRC -o OUT: back to plain floating-point tensors.

#include "cli/backend.hpp"
#include "cli/invocation.hpp"
#include "cli/report.hpp"

#include <memory>

namespace viva::cli {

void add_dequantize(CLI::App& root, invocation& call) {
  struct dequantize_flags {
    dequantize_spec spec;
    std::string source, output;
    report_options report;
    node_flags machines;
  };
  auto* app = root.add_subcommand("dequantize", "back to f32, bf16 or f16 safetensors");
  auto flags = std::make_shared<dequantize_flags>();
  app->add_option("SRC", flags->source, "quantized safetensors file or folder")->required();
  app->add_option("-o,--output", flags->output, "output")->required()->type_name("OUT");
  app->add_option("--dtype", flags->spec.dtype,
                  "f32 (exact, the default), bf16, f16, or source: as it was before")
      ->check(CLI::IsMember({"f32", "bf16", "f16", "source"}))
      ->type_name("TYPE");
  app->add_flag("--overwrite", flags->spec.overwrite, "replace an output that is there");
  app->add_flag("--strict", flags->spec.strict,
                "end the job at the first shard that goes into quarantine");
  app->add_flag("--retry-quarantined", flags->spec.retry_quarantined,
                "on resume, run shards in quarantine again");
  app->add_option("--report", flags->report.file,
                  "write the report to FILE: JSON, or Markdown for *.md")
      ->type_name("FILE");
  add_progress_flags(*app, call);
  add_setting_flags(*app, call, {"lanes", "max_memory", "shard_bytes", "attempts", "isolation",
                                  "backend", "devices", "stall_seconds"});
  add_node_flags(*app, call, flags->machines);
  add_common_flags(*app, call);
  app->callback([&call, flags] {
    call.run = [&call, flags](const settings& in_force) -> expected<exit_code> {
      auto spec = flags->spec;
      auto output = output_path(flags->output);
      if (!output)
        return tl::make_unexpected(output.error());
      spec.source = flags->source;
      spec.output = std::move(*output);
      spec.limits = in_force.limits();
      flags->machines.apply(spec.limits);
      if (auto added = add_devices(in_force, spec.limits); !added)
        return tl::make_unexpected(added.error());
      return run_job(
          call, flags->report, {}, {{spec.source}, spec.output}, "dequantize",
          [spec](const job_observer& observer) { return run_dequantize(spec, observer); });
    };
  });
}

} // namespace viva::cli
