// viva info: what this program is, what it runs on, and which settings are in force.

#include "cli/build_facts.hpp"
#include "cli/invocation.hpp"

#include "actors/version.hpp"
#include "formats/shown.hpp"
#include "kernels/device.hpp"
#include "kernels/registry.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <thread>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

/// What no machine has confirmed yet, and what would.
constexpr auto not_run =
    "kernels for devices of every method and of attention (tests run their code as loops on the "
    "CPU), and lanes that have a device (tests make devices up): none has run on hardware";
constexpr auto not_run_check = "bench/gpu.sh --out FOLDER";

std::uint64_t lanes_in_force(const settings& in_force) {
  const auto asked = in_force.at("lanes").number;
  return asked != 0 ? asked : std::max(1u, std::thread::hardware_concurrency());
}

json json_of(const kernels::device_census& found) {
  json devices = json::array();
  for (const auto& each : found.devices)
    devices.push_back({{"number", each.number},
                       {"name", each.name},
                       {"capability", fmt::format("{}.{}", each.major, each.minor)},
                       {"memory_bytes", each.memory_bytes}});
  return devices;
}

json json_of(const settings& in_force) {
  const auto found = kernels::find_devices();
  json result = {{"version", actors::version},
                 {"commit", build_commit},
                 {"compiler", build_compiler},
                 {"isa", kernels::simd_target()},
                 {"cuda", kernels::devices_built()},
                 {"devices", json_of(found)},
                 {"no_devices", found.why},
                 {"not_run_on_hardware", {{"what", not_run}, {"check", not_run_check}}},
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
  text += fmt::format("cuda      {}\n", kernels::devices_built() ? "built in" : "not built in");
  const auto found = kernels::find_devices();
  for (const auto& each : found.devices)
    text +=
        fmt::format("device    {}: {}, {}.{}, {} GiB\n", each.number, formats::printable(each.name),
                    each.major, each.minor, each.memory_bytes >> 30);
  if (found.devices.empty())
    text += fmt::format("device    none: {}\n", formats::printable(found.why));
  text += fmt::format("unproven  {}; {} would\n", not_run, not_run_check);
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
  add_setting_flags(
      *app, call,
      {"lanes", "max_memory", "shard_bytes", "attempts", "on_nan", "isolation", "backend",
       "devices", "stall_seconds"});
  add_common_flags(*app, call);
  app->callback([&call] {
    call.run = [&call](const settings& in_force) -> expected<exit_code> {
      const auto printed = call.json ? print_json(json_of(in_force)) : print(text_of(in_force));
      return printed.map([] { return exit_code::done; });
    };
  });
}

} // namespace viva::cli
