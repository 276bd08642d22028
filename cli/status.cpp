// viva status: what a running or dead job has done, and what to do next.

#include "actors/job_view.hpp"
#include "cli/invocation.hpp"
#include "formats/shown.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <array>
#include <memory>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

std::string_view word_of(job_state state) {
  constexpr std::array<std::string_view, 5> words{"done", "running", "interrupted", "failed",
                                                  "untrusted"};
  return words.at(static_cast<std::size_t>(state));
}

json json_of(const struck_shard& struck) {
  return {{"shard", struck.shard},
          {"quarantined", struck.quarantined},
          {"place", struck.place.empty() ? json(nullptr) : json(struck.place)},
          {"source_xxh3", struck.source_checksum == 0
                            ? json(nullptr)
                            : json(fmt::format("{:016x}", struck.source_checksum))},
          {"reasons", struck.reasons}};
}

json json_of(const std::string& output, const job_status& status) {
  auto struck = json::array();
  for (const auto& each : status.struck)
    struck.push_back(json_of(each));
  return {{"output", output},
          {"state", word_of(status.state)},
          {"shards_durable", status.shards_durable},
          {"shards_total", status.shards_total == 0 ? json(nullptr) : json(status.shards_total)},
          {"lives", status.lives},
          {"ended", status.ended.empty() ? json(nullptr)
                                         : json{{"code", status.ended}, {"text", status.why}}},
          {"struck", std::move(struck)},
          {"torn_bytes", status.torn_bytes},
          {"job", status.fingerprint},
          {"next", status.next}};
}

std::string text_of(const std::string& output, const job_status& status) {
  auto text = fmt::format("{}: {}\n", output, word_of(status.state));
  if (status.shards_total > 0)
    text += fmt::format("  durable  {} of {} shards\n", status.shards_durable, status.shards_total);
  if (status.lives > 0)
    text += fmt::format("  lives    {}\n", status.lives);
  if (!status.ended.empty())
    text += fmt::format("  ended    {}: {}\n", formats::printable(status.ended),
                        formats::printable(status.why));
  for (const auto& each : status.struck) {
    text += fmt::format("  {:<8} shard {}{}{}\n", each.quarantined ? "failed" : "struck",
                        each.shard, each.place.empty() ? "" : ": ", formats::printable(each.place));
    for (const auto& reason : each.reasons)
      text += fmt::format("    a lane died of {}\n", formats::printable(reason));
    if (each.source_checksum != 0)
      text += fmt::format("    its source bytes have xxh3 {:016x}\n", each.source_checksum);
  }
  if (status.torn_bytes > 0)
    text += fmt::format("  torn     {} bytes of the journal's end, ignored\n", status.torn_bytes);
  for (const auto& [key, value] : status.fingerprint)
    text += fmt::format("  {:<8} {}\n", key, value);
  return text + fmt::format("  next     {}\n", status.next);
}

} // namespace

void add_status(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand("status", "what a running or dead job has done; what to do next");
  const auto output = std::make_shared<std::string>();
  app->add_option("output", *output, "as it was given to the job")->required()->type_name("OUT");
  add_common_flags(*app, call);
  app->callback([&call, output] {
    call.run = [&call, output](const settings&) -> expected<exit_code> {
      const auto status = status_of(*output);
      if (!status)
        return tl::unexpected(status.error());
      const auto printed = call.json ? print_json(json_of(*output, *status))
                                     : print(text_of(*output, *status));
      return printed.map([] { return exit_code::done; });
    };
  });
}

} // namespace viva::cli
