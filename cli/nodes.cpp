// viva nodes: who is up, how much it has done, and whether it may work for us.

#include "actors/node/look.hpp"
#include "cli/invocation.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <memory>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

json json_of(const node_view& seen) {
  if (!seen.problem.empty())
    return {{"address", seen.address}, {"up", false}, {"problem", seen.problem}};
  return {{"address", seen.address},  {"up", true},
          {"host", seen.host},        {"pid", seen.pid},
          {"lanes", seen.lanes},      {"jobs", seen.jobs},
          {"shards", seen.shards},    {"restarts", seen.restarts},
          {"strangers", seen.strangers}, {"garbage", seen.garbage},
          {"fenced", seen.fenced},    {"seconds", seen.up_seconds},
          {"build", seen.build},      {"same_build", seen.same_build}};
}

std::string text_of(const std::vector<node_view>& all) {
  auto text = fmt::format("{:<24} {:<8} {:>6} {:>5} {:>9} {:>9} {:>9}  build\n", "node", "state",
                          "lanes", "jobs", "shards", "restarts", "up s");
  for (const auto& seen : all)
    text += !seen.problem.empty()
              ? fmt::format("{:<24} {:<8} {}\n", seen.address, "away", seen.problem)
              : fmt::format("{:<24} {:<8} {:>6} {:>5} {:>9} {:>9} {:>9.0f}  {}\n", seen.address,
                            "up", seen.lanes, seen.jobs, seen.shards, seen.restarts,
                            seen.up_seconds,
                            seen.same_build ? "same" : "another: " + seen.build);
  return text;
}

expected<exit_code> run(const invocation& call, const node_flags& flags,
                        const settings& in_force) {
  auto limits = in_force.limits();
  flags.apply(limits);
  const auto all = look_at_nodes(limits);
  if (!all)
    return tl::make_unexpected(all.error());
  json document = json::array();
  for (const auto& seen : *all)
    document.push_back(json_of(seen));
  if (auto printed = call.json ? print_json({{"nodes", document}}) : print(text_of(*all)); !printed)
    return tl::make_unexpected(printed.error());
  const bool good = std::ranges::all_of(
    *all, [](const node_view& seen) { return seen.problem.empty() && seen.same_build; });
  return good ? exit_code::done : exit_code::job_failed;
}

} // namespace

void add_nodes(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand(
    "nodes",
    "who is up, with lanes, load, build and restarts; exit 1 where one is not fit for work");
  const auto flags = std::make_shared<node_flags>();
  app->add_option("--nodes", flags->nodes, "addresses with commas between")
    ->required()
    ->type_name("HOST:PORT,…");
  app->add_flag("--insecure", flags->insecure, "speak to other machines without certificates");
  add_setting_flags(*app, call, {"tls"});
  add_common_flags(*app, call);
  app->callback([&call, flags] {
    call.run = [&call, flags](const settings& in_force) { return run(call, *flags, in_force); };
  });
}

} // namespace viva::cli
