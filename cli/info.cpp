// viva info: what this program is, what it runs on, and which settings are in force.

#include "cli/build_facts.hpp"
#include "cli/invocation.hpp"

#include "actors/version.hpp"
#include "formats/shown.hpp"
#include "kernels/registry.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <thread>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

// This build has no CUDA path; the registry will say so by method once one exists.
constexpr bool has_cuda = false;

std::uint64_t lanes_in_force(const settings& in_force) {
  const auto asked = in_force.at("lanes").number;
  return asked != 0 ? asked : std::max(1u, std::thread::hardware_concurrency());
}

json json_of(const settings& in_force) {
  json result = {{"version", actors::version},
                 {"commit", build_commit},
                 {"compiler", build_compiler},
                 {"isa", kernels::simd_target()},
                 {"cuda", has_cuda},
                 {"cores", std::thread::hardware_concurrency()},
                 {"lanes", lanes_in_force(in_force)},
                 {"conf", in_force.file.empty() ? json(nullptr) : json(in_force.file.string())}};
  for (const auto& each : in_force.values)
    result["settings"].push_back(
        {{"key", each.row->key},
         {"value", each.row->what == setting_row::kind::word ? json(each.text) : json(each.number)},
         {"origin", each.origin}});
  for (const auto& each : kernels::methods())
    result["methods"].push_back({{"name", each.name},
                                 {"summary", each.summary},
                                 {"layouts", each.layouts},
                                 {"options", each.options},
                                 {"sqnr_db_normal", each.sqnr_db_normal}});
  return result;
}

std::string text_of(const settings& in_force) {
  std::string text;
  text += fmt::format("viva      {}{}{}\n", actors::version,
                      *build_commit == '\0' ? "" : ", commit ", build_commit);
  text += fmt::format("compiler  {}\n", build_compiler);
  text += fmt::format("isa       {}\n", kernels::simd_target());
  text += fmt::format("cuda      {}\n", has_cuda ? "yes" : "not in this build");
  text += fmt::format("cores     {}\n", std::thread::hardware_concurrency());
  text += fmt::format("lanes     {}\n", lanes_in_force(in_force));
  text += fmt::format("conf      {}\n\nsettings\n",
                      in_force.file.empty() ? "no file; defaults"
                                            : formats::printable(in_force.file.native()));
  for (const auto& each : in_force.values)
    text += fmt::format("  {:<12} {:<8} {:<24} {}\n", each.row->key, formats::printable(each.text),
                        formats::printable(each.origin), each.row->meaning);
  text += "\nmethods\n";
  for (const auto& each : kernels::methods())
    text += fmt::format("  {:<8} {:<20} {}\n", each.name, each.layouts, each.summary);
  return text;
}

} // namespace

void add_info(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand("info", "version, instruction set, lanes, settings in force");
  add_setting_flags(*app, call, {"lanes", "max_memory", "shard_bytes", "attempts", "on_nan",
                                  "isolation", "stall_seconds"});
  add_common_flags(*app, call);
  app->callback([&call] {
    call.run = [&call](const settings& in_force) -> expected<exit_code> {
      const auto printed = call.json ? print_json(json_of(in_force)) : print(text_of(in_force));
      return printed.map([] { return exit_code::done; });
    };
  });
}

} // namespace viva::cli
