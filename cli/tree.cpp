// viva tree: the live supervision tree of running jobs.

#include "actors/job_view.hpp"
#include "cli/invocation.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include <filesystem>
#include <memory>

namespace viva::cli {

namespace {

using json = nlohmann::ordered_json;

bool is_of(const json& job, const std::string& asked) {
  std::error_code ignored;
  const std::string output = job.value("output", "");
  return asked.empty() || asked == std::to_string(job.value("pid", 0))
         || (!output.empty()
             && output == std::filesystem::weakly_canonical(asked, ignored).string());
}

std::string text_of(const json& job) {
  return fmt::format("{} {}, pid {}, {} of {} shards, {:.1f} s\n{}", job.value("job", ""),
                     job.value("output", ""), job.value("pid", 0), job.value("shards_done", 0),
                     job.value("shards_total", 0), job.value("seconds", 0.0),
                     job.value("text", ""));
}

expected<exit_code> show(const std::string& asked, bool as_json) {
  auto all = json::array();
  std::string text;
  for (const auto& document : look_into_jobs()) {
    auto job = json::parse(document, nullptr, false);
    if (!job.is_object() || !is_of(job, asked))
      continue;
    text += (text.empty() ? "" : "\n") + text_of(job);
    job.erase("text");
    all.push_back(std::move(job));
  }
  if (all.empty() && !asked.empty())
    return fail(errc::unreadable, asked + ": no running job of this user and machine has this "
                                          "output or process id; see viva status");
  const auto printed = as_json ? print_json(all) : print(text.empty() ? "no job runs\n" : text);
  return printed.map([] { return exit_code::done; });
}

} // namespace

void add_tree(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand("tree", "lives of running jobs: states, restarts, mailboxes");
  const auto asked = std::make_shared<std::string>();
  app->add_option("job", *asked, "its output or process id (default: every job of this user)")
    ->type_name("OUT|PID");
  add_common_flags(*app, call);
  app->callback([&call, asked] {
    call.run = [&call, asked](const settings&) { return show(*asked, call.json); };
  });
}

} // namespace viva::cli
