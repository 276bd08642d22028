// viva certs OUT: an authority of a cluster's own and a folder for each of its members.

#include "cli/invocation.hpp"

#include "actors/node/certificates.hpp"
#include "formats/shown.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <memory>

namespace viva::cli {

namespace {

struct certs_flags {
  actors::node::certificate_options options{{"coordinator", "node"}};
  std::string output;
};

expected<exit_code> run(const invocation& call, const certs_flags& flags) {
  const auto output = output_path(flags.output);
  if (!output)
    return tl::make_unexpected(output.error());
  const auto made = actors::node::make_certificates(*output, flags.options);
  if (!made)
    return tl::make_unexpected(made.error());
  const auto shown = formats::printable(output->native());
  std::string text;
  for (const auto& name : flags.options.names)
    text += fmt::format("{0}/{1}: for one machine's --tls, {2} days; copy it there and nothing "
                        "else\n",
                        shown, name, flags.options.days);
  text += fmt::format("{0}/ca.key: lets machines in; keep it where no node runs\n", shown);
  const auto printed = call.json ? print_json({{"job", "certs"},
                                               {"output", output->string()},
                                               {"members", flags.options.names},
                                               {"days", flags.options.days}})
                                 : print(text);
  return printed.map([] { return exit_code::done; });
}

} // namespace

void add_certs(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand(
      "certs", "make a cluster's own authority and certificates; again: more members");
  auto flags = std::make_shared<certs_flags>();
  app->add_option("OUT", flags->output, "folder; OUT/NAME is what --tls takes")->required();
  app->add_option("NAME", flags->options.names, "members (default: coordinator node)");
  app->add_option("--days", flags->options.days, "certificates of members hold (default 730)")
      ->type_name("N");
  add_common_flags(*app, call);
  app->callback(
      [&call, flags] { call.run = [&call, flags](const settings&) { return run(call, *flags); }; });
}

} // namespace viva::cli
