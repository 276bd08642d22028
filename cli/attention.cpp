// viva attention QKV.safetensors -o OUT: exact attention through supervised lanes.

#include "cli/invocation.hpp"
#include "cli/signals.hpp"

#include "actors/attention_file.hpp"
#include "formats/shown.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>

namespace viva::cli {

namespace {

struct attention_flags {
  attention_spec spec;
  std::string source, output;
  node_flags machines;
};

expected<exit_code> run(const invocation& call, const settings& in_force,
                        const attention_flags& flags) {
  auto spec = flags.spec;
  if (!std::isfinite(spec.scale))
    return fail(errc::bad_option, fmt::format("--scale {} is no positive number", spec.scale));
  auto output = output_path(flags.output);
  if (!output)
    return tl::make_unexpected(output.error());
  spec.source = flags.source;
  spec.output = std::move(*output);
  auto limits = in_force.limits();
  flags.machines.apply(limits);
  spec.lanes = limits.lanes;
  spec.lanes_are = limits.lanes_are;
  spec.memory_bytes_max = limits.memory_bytes_max;
  spec.nodes = limits.nodes;
  spec.tls = limits.tls;
  spec.insecure = limits.insecure;
  if (limits.node_timeout_seconds != 0) // or as long as the library waits
    spec.node_timeout_seconds = limits.node_timeout_seconds;
  spec.on_nan = in_force.on_nan();
  const auto done = run_attention(spec, &watch_signals());
  if (!done)
    return tl::make_unexpected(done.error());
  const auto& of = done->of;
  const auto printed =
      call.json
          ? print_json({{"job", "attention"},
                        {"output", spec.output.string()},
                        {"dtype", kernels::name_of(done->type)},
                        {"k_method", done->k_method},
                        {"v_method", done->v_method},
                        {"batch", of.batch},
                        {"heads", of.heads},
                        {"kv_heads", of.kv_heads},
                        {"queries", of.queries},
                        {"keys", of.keys},
                        {"head_size", of.head_size},
                        {"causal", of.causal},
                        {"window", of.window},
                        {"lanes", done->lanes},
                        {"isolation", spec.nodes.empty() ? in_force.at("isolation").text : "nodes"},
                        {"key_ranges", done->key_ranges},
                        {"tickets", done->tickets},
                        {"tickets_lost", done->tickets_lost},
                        {"restarts", done->restarts},
                        {"seconds", done->seconds}})
          : print(fmt::format("{}: {} heads, {} queries on {} keys of {}, {} key ranges, {} lanes, "
                              "{} restarts, {:.3f} s\n",
                              formats::printable(spec.output.native()), of.heads * of.batch,
                              of.queries, of.keys, of.head_size, done->key_ranges, done->lanes,
                              done->restarts, done->seconds));
  return printed.map([] { return exit_code::done; });
}

} // namespace

void add_attention(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand(
      "attention", "exact attention of the tensors q, k and v of a file, on supervised lanes");
  auto flags = std::make_shared<attention_flags>();
  auto& spec = flags->spec;
  app->add_option("QKV", flags->source,
                  "safetensors file with q, k, v: (batch, heads, rows, head size), (heads, rows, "
                  "head size) or (rows, heads * head size); k and v may be quantized")
      ->required();
  app->add_option("-o,--output", flags->output, "file to make, with the tensors out and lse")
      ->required()
      ->type_name("OUT");
  app->add_option("--heads", spec.heads, "heads of a q with two dimensions")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("H");
  app->add_option("--kv-heads", spec.kv_heads, "heads of such k and v (default: as --heads)")
      ->check(CLI::Range(1, 1 << 20))
      ->type_name("G");
  app->add_flag("--causal", spec.causal, "key j is seen by query i where j <= i + keys - queries");
  app->add_option("--window", spec.window, "only keys closer than W positions")
      ->check(CLI::Range(1, std::numeric_limits<std::int32_t>::max()))
      ->type_name("W");
  app->add_option("--scale", spec.scale, "of scores (default: 1 / sqrt(head size))")
      ->check(CLI::Range(std::numeric_limits<float>::min(), std::numeric_limits<float>::max()))
      ->type_name("X");
  app->add_flag("--overwrite", spec.overwrite, "replace an output that is there");
  add_lending_flags(*app, call, flags->machines);
  add_setting_flags(*app, call, {"lanes", "max_memory", "on_nan", "isolation"});
  add_common_flags(*app, call);
  app->callback([&call, flags] {
    call.run = [&call, flags](const settings& in_force) { return run(call, in_force, *flags); };
  });
}

} // namespace viva::cli
