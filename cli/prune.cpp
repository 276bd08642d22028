// viva prune SRC --pattern 2:4: half of the weights become zero.

#include "cli/encode_flags.hpp"

#include <memory>

namespace viva::cli {

namespace {

struct prune_flags : encode_flags {
  std::string pattern = "2:4", metadata = "bitmask", values;
  bool compressed = false;
};

expected<exit_code> run(const invocation& call, prune_flags flags, const settings& in_force) {
  flags.spec.job = "prune";
  flags.spec.method = !flags.compressed             ? "sparse24-dense"
                      : flags.metadata == "bitmask" ? "sparse24"
                                                    : "sparse24-cutlass";
  std::string suffix = flags.compressed ? "2of4-" + flags.metadata : "2of4";
  if (!flags.values.empty()) {
    flags.spec.method += "+" + flags.values;
    suffix += "-" + flags.values;
  }
  return run_encode(call, std::move(flags), suffix, in_force);
}

} // namespace

void add_prune(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand(
      "prune", "keep 2 of each 4 weights, by magnitude or statistics; the same command resumes");
  auto flags = std::make_shared<prune_flags>();
  app->add_option("--pattern", flags->pattern, "which weights may stay: 2:4")
      ->check(CLI::IsMember({"2:4"}))
      ->type_name("N:M");
  auto* compressed =
      app->add_flag("--compressed", flags->compressed,
                    "write kept values and metadata instead of a dense file with zeros");
  app->add_option("--metadata", flags->metadata,
                  "which were kept: bitmask (the default), or cutlass as sparse tensor cores want "
                  "it, in slabs of 64 rows, the last filled up with rows of zeros: "
                  "view(rows / 64, words / 2, 128).transpose(0, 1) makes CUTLASS's array")
      ->check(CLI::IsMember({"bitmask", "cutlass"}))
      ->type_name("FORM")
      ->needs(compressed);
  app->add_option("--values", flags->values,
                  "encode the kept values: int8 (with either metadata), int4, nf4 or nf4-dq (with "
                  "bitmask), and options, as in int4:group=64:search")
      ->type_name("METHOD")
      ->needs(compressed);
  add_encode_flags(*app, call, *flags);
  app->callback([&call, flags] {
    call.takes_faults = true;
    call.run = [&call, flags](const settings& in_force) { return run(call, *flags, in_force); };
  });
}

} // namespace viva::cli
