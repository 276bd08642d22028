#include "cli/encode_flags.hpp"

#include "cli/backend.hpp"
#include "cli/report.hpp"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <utility>
#include <vector>

namespace viva::cli {

namespace {

/// SRC with -SUFFIX appended: before the extension of a file, after the name of a folder.
std::string output_beside(std::filesystem::path source, std::string suffix) {
  std::ranges::replace_if(
      suffix, [](char c) { return c == ':' || c == '='; }, '-');
  source = source.lexically_normal();
  if (source.filename().empty())
    source = source.parent_path();
  std::error_code ignored; // what is wrong with the source shows when it is opened
  if (source.filename() == "." || source.filename() == "..")
    if (auto whole = std::filesystem::canonical(source, ignored); !ignored)
      source = std::move(whole);
  const auto extension =
      std::filesystem::is_directory(source, ignored) ? std::filesystem::path{} : source.extension();
  const auto stem = extension.empty() ? source.filename() : source.stem();
  const auto name = fmt::format("{}-{}{}", stem.string(), suffix, extension.string());
  return (source.parent_path() / name).string();
}

struct fault_name {
  std::string_view name;
  std::uint32_t fault_plan::*count;
};

constexpr fault_name fault_names[] = {
    {"throw-every", &fault_plan::throw_every},
    {"poison", &fault_plan::poison},
    {"stop-after", &fault_plan::stop_after},
    {"stop-at-naming", &fault_plan::stop_at_naming},
    {"interrupt-after", &fault_plan::interrupt_after},
    {"crash-at", &fault_plan::crash_at},
    {"abort-at", &fault_plan::abort_at},
    {"hang-at", &fault_plan::hang_at},
    {"oom-at", &fault_plan::oom_at},
    {"garbage-at", &fault_plan::garbage_at},
    {"exit-at", &fault_plan::exit_at},
    {"sticky-at", &fault_plan::sticky_at},
    {"no-memory-at", &fault_plan::no_memory_at},
};

/// One of `fault_names` with its number, as "poison=7"; `origin` is who said it.
expected<void> read_fault(std::string_view text, std::string_view origin, fault_plan& into) {
  const auto at = text.find('=');
  const auto number = at == text.npos ? std::string_view() : text.substr(at + 1);
  std::uint32_t value = 0;
  const auto* const end = number.data() + number.size();
  const auto [rest, problem] = std::from_chars(number.data(), end, value);
  const auto* fault = std::ranges::find(fault_names, text.substr(0, at), &fault_name::name);
  if (problem != std::errc{} || rest != end || value == 0 || fault == std::end(fault_names)) {
    std::string known;
    for (const auto& each : fault_names)
      known += fmt::format("{}{}=N", known.empty() ? "" : ", ", each.name);
    return fail(errc::bad_option,
                fmt::format("fault '{}' ({}) is none of {}", text, origin, known));
  }
  into.*fault->count = value;
  return {};
}

/// Those of `--fault`, and those of the setting `faults` with commas between.
expected<void> read_faults(encode_flags& flags, const setting& kept) {
  std::vector<std::pair<std::string, std::string>> said; // what, and who said it
  for (const auto& text : flags.faults)
    said.emplace_back(text, "--fault");
  std::istringstream in(kept.text);
  for (std::string text; std::getline(in, text, ',');)
    said.emplace_back(text, kept.origin);
  if (!said.empty() && !flags.allow_faults)
    return fail(errc::bad_option,
                fmt::format("fault '{}' ({}) breaks the job on purpose; it needs --allow-faults",
                            said.front().first, said.front().second));
  for (const auto& [text, origin] : said)
    if (auto read = read_fault(text, origin, flags.spec.faults); !read)
      return read;
  return {};
}

} // namespace

void add_encode_flags(CLI::App& app, invocation& call, encode_flags& flags) {
  auto& spec = flags.spec;
  app.add_option("SRC", flags.source, "safetensors file or Hugging Face folder")->required();
  app.add_option("-o,--output", flags.output, "output (default: beside SRC)")->type_name("OUT");
  app.add_option("--stats", flags.stats,
                 "what went into each layer, by channel: llama.cpp's imatrix, or safetensors with "
                 "MODULE.sum_sq and MODULE.count")
      ->type_name("FILE");
  app.add_option("--include", spec.include,
                 "only tensors whose name holds this expression, in RE2's grammar")
      ->type_name("RE")
      ->allow_extra_args(false);
  app.add_option("--exclude", spec.exclude,
                 "copy tensors whose name holds this expression, in RE2's grammar")
      ->type_name("RE")
      ->allow_extra_args(false);
  app.add_flag("--dry-run", spec.dry_run, "say what would be done; write nothing");
  app.add_flag("--overwrite", spec.overwrite, "replace an output that is there");
  app.add_flag("--strict", spec.strict, "end the job at the first shard that goes into quarantine");
  app.add_flag("--retry-quarantined", spec.retry_quarantined,
               "on resume, run shards in quarantine again");
  add_report_flags(app, flags.report);
  add_progress_flags(app, call);
  add_setting_flags(app, call, {"lanes", "max_memory", "shard_bytes", "attempts", "on_nan",
                                  "isolation", "backend", "devices", "stall_seconds"});
  add_node_flags(app, call, flags.machines);
  add_common_flags(app, call);
  app.add_flag("--allow-faults", flags.allow_faults)->group("");
  app.add_option("--fault", flags.faults)->group("")->allow_extra_args(false);
}

expected<exit_code> run_encode(const invocation& call, encode_flags flags,
                               const std::string& suffix, const settings& in_force) {
  auto& spec = flags.spec;
  if (auto read = read_faults(flags, in_force.at("faults")); !read)
    return tl::make_unexpected(read.error());
  auto output =
      output_path(flags.output.empty() ? output_beside(flags.source, suffix) : flags.output);
  if (!output)
    return tl::make_unexpected(output.error());
  spec.source = flags.source;
  spec.output = std::move(*output);
  spec.stats = flags.stats;
  spec.limits = in_force.limits();
  flags.machines.apply(spec.limits);
  if (auto added = add_devices(in_force, spec.limits); !added)
    return tl::make_unexpected(added.error());
  spec.on_nan = in_force.on_nan();
  verdict said;
  said.method = spec.method;
  said.dry_run = spec.dry_run;
  job_paths paths{{spec.source}, spec.output};
  if (!spec.stats.empty())
    paths.reads.push_back(spec.stats);
  return run_job(call, flags.report, std::move(said), paths, spec.job,
                 [&](const job_observer& observer) { return run_quantize(spec, observer); });
}

} // namespace viva::cli
