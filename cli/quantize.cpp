// viva quantize SRC -m METHOD: a checkpoint in fewer bits.

#include "cli/bytes.hpp"
#include "cli/invocation.hpp"
#include "cli/report.hpp"

#include "formats/layout.hpp"
#include "kernels/registry.hpp"

#include <nlohmann/json.hpp>

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace viva::cli {

namespace {

struct quantize_flags {
  quantize_spec spec;
  std::string source, output;
  std::vector<std::string> rules, faults;
  bool allow_faults = false;
  report_options report;
};

std::string method_help() {
  std::string text = "one of";
  for (const auto& method : kernels::methods())
    text += fmt::format("\n  {:<8} {}{}{}", method.name, method.summary,
                        method.options.empty() ? "" : "; option ", method.options);
  return text;
}

std::string layout_help() {
  std::string text = "how it lies on disk (default: the method's own); one of";
  for (const auto layout : formats::layouts())
    text += fmt::format(" {}", layout);
  return text;
}

/// SRC with -METHOD appended: before the extension of a file, after the name of a folder.
std::string output_beside(std::filesystem::path source, std::string method) {
  std::ranges::replace_if(
      method, [](char c) { return c == ':' || c == '='; }, '-');
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
  const auto name = fmt::format("{}-{}{}", stem.string(), method, extension.string());
  return (source.parent_path() / name).string();
}

/// Where RE ends and METHOD begins: the last '=' behind which a method's name stands, because both
/// an expression and a method's options ("nf4:block=128") may hold '=' themselves.
std::size_t rule_split(const std::string& text) {
  for (auto at = text.rfind('='); at != std::string::npos && at > 0; at = text.rfind('=', at - 1)) {
    const auto name = text.substr(at + 1, text.find(':', at) - at - 1);
    if (name == "copy" || kernels::find_method(name) != nullptr)
      return at;
  }
  return text.rfind('='); // an unknown method: the plan says so by name
}

expected<void> read_rules(quantize_flags& flags) {
  for (const auto& text : flags.rules) {
    const auto at = rule_split(text);
    if (at == std::string::npos || at == 0 || at + 1 == text.size())
      return fail(errc::bad_option,
                  fmt::format("--rule '{}' is not RE=METHOD; write for example 'down_proj=int8' or "
                              "'layers\\.0\\.=copy'",
                              text));
    flags.spec.rules.emplace_back(text.substr(0, at), text.substr(at + 1));
  }
  return {};
}

struct fault_name {
  std::string_view name;
  std::uint32_t fault_plan::*count;
};

constexpr fault_name fault_names[] = {
    {"throw-every", &fault_plan::throw_every},
    {"stop-after", &fault_plan::stop_after},
    {"interrupt-after", &fault_plan::interrupt_after},
};

expected<void> read_faults(quantize_flags& flags) {
  if (!flags.faults.empty() && !flags.allow_faults)
    return fail(errc::bad_option, "--fault breaks the job on purpose; it needs --allow-faults");
  for (const auto& text : flags.faults) {
    const auto at = text.find('=');
    const auto name = text.substr(0, at);
    const auto number = at == std::string::npos ? std::string() : text.substr(at + 1);
    std::uint32_t value = 0;
    const auto* const end = number.data() + number.size();
    const auto [rest, problem] = std::from_chars(number.data(), end, value);
    const auto* fault = std::ranges::find(fault_names, name, &fault_name::name);
    if (problem != std::errc{} || rest != end || value == 0 || fault == std::end(fault_names))
      return fail(
          errc::bad_option,
          fmt::format("--fault '{}' is none of throw-every=N, stop-after=N, interrupt-after=N",
                      text));
    flags.spec.faults.*fault->count = value;
  }
  return {};
}

expected<exit_code> run(const invocation& call, quantize_flags flags, const settings& in_force) {
  auto& spec = flags.spec;
  if (auto read = read_rules(flags); !read)
    return tl::make_unexpected(read.error());
  if (auto read = read_faults(flags); !read)
    return tl::make_unexpected(read.error());
  auto output =
      output_path(flags.output.empty() ? output_beside(flags.source, spec.method) : flags.output);
  if (!output)
    return tl::make_unexpected(output.error());
  spec.source = flags.source;
  spec.output = std::move(*output);
  spec.limits = in_force.limits();
  spec.on_nan = in_force.on_nan();
  verdict said;
  said.method = spec.method;
  said.dry_run = spec.dry_run;
  return run_job(call, flags.report, std::move(said), {{spec.source}, spec.output}, "quantize",
                 [&](const job_observer& observer) { return run_quantize(spec, observer); });
}

} // namespace

void add_quantize(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand("quantize", "compress a checkpoint; the same command resumes");
  auto flags = std::make_shared<quantize_flags>();
  auto& spec = flags->spec;
  app->add_option("SRC", flags->source, "safetensors file or Hugging Face folder")->required();
  app->add_option("-m,--method", spec.method, method_help())->required()->type_name("METHOD");
  app->add_option("-o,--output", flags->output, "output (default: SRC-METHOD)")->type_name("OUT");
  app->add_option("--layout", spec.layout, layout_help())->type_name("L");
  app->add_option("--include", spec.include,
                  "only tensors whose name holds this expression, in RE2's grammar")
      ->type_name("RE")
      ->allow_extra_args(false);
  app->add_option("--exclude", spec.exclude,
                  "copy tensors whose name holds this expression, in RE2's grammar")
      ->type_name("RE")
      ->allow_extra_args(false);
  app->add_option("--rule", flags->rules,
                  "another method for some tensors; the first rule that fits wins, copy keeps")
      ->type_name("RE=METHOD")
      ->allow_extra_args(false);
  app->add_flag("--dry-run", spec.dry_run, "say what would be done; write nothing");
  app->add_flag("--overwrite", spec.overwrite, "replace an output that is there");
  add_report_flags(*app, flags->report);
  add_progress_flags(*app, call);
  add_setting_flags(*app, call, {"lanes", "max_memory", "shard_bytes", "attempts", "on_nan"});
  add_common_flags(*app, call);
  app->add_flag("--allow-faults", flags->allow_faults)->group("");
  app->add_option("--fault", flags->faults)->group("")->allow_extra_args(false);
  app->callback([&call, flags] {
    call.run = [&call, flags](const settings& in_force) { return run(call, *flags, in_force); };
  });
}

} // namespace viva::cli
