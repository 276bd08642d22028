// viva synth OUT --size 1GiB: a checkpoint to try things on; the same seed gives the same bytes.

#include "cli/bytes.hpp"
#include "cli/invocation.hpp"
#include "cli/signals.hpp"

#include "formats/shown.hpp"
#include "formats/synth.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <chrono>
#include <memory>

namespace viva::cli {

namespace {

struct synth_flags {
  formats::synth_options options;
  std::string output, size, dtype = "bf16";
};

expected<exit_code> run(const invocation& call, const synth_flags& flags) {
  auto options = flags.options;
  const auto bytes = parse_bytes(flags.size);
  if (!bytes)
    return fail(errc::bad_option, "--size: " + bytes.error().text);
  auto output = output_path(flags.output);
  if (!output)
    return tl::make_unexpected(output.error());
  options.output = *output;
  options.bytes = *bytes;
  options.dtype = flags.dtype == "f32"   ? kernels::dtype::f32
                  : flags.dtype == "f16" ? kernels::dtype::f16
                                         : kernels::dtype::bf16;
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::uint64_t written = 0;
  const auto made = [&] {
    progress_view view("synth", choose_style(call.progress_lines, call.progress_none));
    double last = -1;
    const auto show = [&](std::uint64_t done, std::uint64_t total) {
      written = total;
      if (done < total && elapsed() - last < 0.1)
        return;
      last = elapsed();
      progress now;
      now.bytes_done = done;
      now.bytes_total = total;
      now.seconds = last;
      view.show(now);
    };
    return formats::synthesize(options, show, &watch_signals());
  }();
  if (!made)
    return tl::make_unexpected(made.error());
  const auto printed =
      call.json ? print_json({{"job", "synth"},
                              {"output", output->string()},
                              {"bytes", written},
                              {"dtype", flags.dtype},
                              {"seed", options.seed},
                              {"seconds", elapsed()}})
                : print(fmt::format("{}: {} of {} in {}\n", formats::printable(output->native()),
                                    format_bytes(written), flags.dtype, format_seconds(elapsed())));
  return printed.map([] { return exit_code::done; });
}

} // namespace

void add_synth(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand("synth", "make a llama-shaped checkpoint; same seed, same bytes");
  auto flags = std::make_shared<synth_flags>();
  auto& options = flags->options;
  options.shards = 1;
  app->add_option("OUT", flags->output, "folder to make")->required();
  app->add_option("--size", flags->size, "bytes of tensors, about")->required()->type_name("SIZE");
  app->add_option("--dtype", flags->dtype, "bf16 (default), f16 or f32")
      ->check(CLI::IsMember({"bf16", "f16", "f32"}))
      ->type_name("TYPE");
  app->add_option("--shards", options.shards, "safetensors files (default 1)")
      ->check(CLI::Range(1, 10'000))
      ->type_name("N");
  app->add_flag("--outliers", options.outliers, "some channels far larger than the rest");
  app->add_option("--seed", options.seed, "of the numbers (default 0)")->type_name("N");
  app->add_flag("--overwrite", options.overwrite, "replace an output that is there");
  add_progress_flags(*app, call);
  add_common_flags(*app, call);
  app->callback(
      [&call, flags] { call.run = [&call, flags](const settings&) { return run(call, *flags); }; });
}

} // namespace viva::cli
