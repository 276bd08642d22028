// viva node: this machine works on the jobs of others.

#include "actors/node/serve.hpp"
#include "cli/invocation.hpp"
#include "cli/signals.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <memory>

namespace viva::cli {

namespace {

expected<exit_code> run(const invocation& call, node_spec spec, const settings& in_force,
                        bool insecure) {
  spec.limits = in_force.limits();
  spec.limits.insecure = insecure;
  spec.roots = in_force.at("roots").text;
  spec.scratch = in_force.at("scratch").text;
  expected<void> printed;
  node_observer observer;
  observer.leave = &watch_signals();
  observer.on_up = [&](const std::string& address) {
    printed = call.json ? print(nlohmann::ordered_json{{"listening", address}}.dump() + "\n")
                        : print(fmt::format("listening on {}\n", address));
  };
  if (auto served = run_node(spec, observer); !served)
    return tl::make_unexpected(served.error());
  if (!printed)
    return tl::make_unexpected(printed.error());
  return exit_code::done;
}

} // namespace

void add_node(CLI::App& root, invocation& call) {
  struct node_options {
    node_spec spec;
    bool insecure = false;
  };
  auto* app = root.add_subcommand(
    "node", "work on the jobs of others until told to leave (SIGTERM; twice: at once)");
  auto options = std::make_shared<node_options>();
  app->add_option("--listen", options->spec.listen, "address of this machine; port 0: any")
    ->required()
    ->type_name("HOST:PORT");
  app->add_flag("--insecure", options->insecure,
                "listen where other machines reach it without certificates");
  add_setting_flags(*app, call, {"lanes", "max_memory", "isolation", "stall_seconds", "roots",
                                 "scratch", "tls"});
  add_common_flags(*app, call);
  app->add_flag("--allow-faults", options->spec.allow_faults)->group("");
  app->add_option("--claim-build", options->spec.claims)->group("");
  app->add_option("--claim-attention", options->spec.claimed_attention)->group("");
  app->callback([&call, options] {
    call.run = [&call, options](const settings& in_force) -> expected<exit_code> {
      const auto& spec = options->spec;
      if (const auto lies = !spec.claims.empty() || !spec.claimed_attention.empty();
          lies && !spec.allow_faults)
        return fail(errc::bad_option, "--claim-build and --claim-attention lie on purpose; they "
                                      "need --allow-faults");
      return run(call, spec, in_force, options->insecure);
    };
  });
}

} // namespace viva::cli
