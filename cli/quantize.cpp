// viva quantize SRC -m METHOD: a checkpoint in fewer bits.

#include "cli/encode_flags.hpp"

#include "formats/layout.hpp"
#include "kernels/registry.hpp"

#include <spdlog/fmt/fmt.h>

#include <memory>

namespace viva::cli {

namespace {

struct quantize_flags : encode_flags {
  std::vector<std::string> rules;
};

std::string method_help() {
  std::string text = "one of";
  for (const auto& method : kernels::methods())
    text += fmt::format("\n  {:<8} {}{}{}", method.name, method.summary,
                        method.options.empty() ? "" : "; option ", method.options);
  return text
         + "\na variant may be spelled as an option: nvfp4:four-or-six is nvfp4-four-or-six; "
           "CUTLASS metadata is filled up to whole slabs with rows of zeros";
}

std::string layout_help() {
  std::string text = "how it lies on disk (default: the method's own); one of";
  for (const auto layout : formats::layouts())
    text += fmt::format(" {}", layout);
  return text;
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

expected<exit_code> run(const invocation& call, quantize_flags flags, const settings& in_force) {
  if (auto read = read_rules(flags); !read)
    return tl::make_unexpected(read.error());
  const auto method = flags.spec.method;
  return run_encode(call, std::move(flags), method, in_force);
}

} // namespace

void add_quantize(CLI::App& root, invocation& call) {
  auto* app = root.add_subcommand("quantize", "compress a checkpoint; the same command resumes");
  auto flags = std::make_shared<quantize_flags>();
  auto& spec = flags->spec;
  app->add_option("-m,--method", spec.method, method_help())->required()->type_name("METHOD");
  app->add_option("--layout", spec.layout, layout_help())->type_name("L");
  app->add_option("--rule", flags->rules,
                  "another method for some tensors; the first rule that fits wins, copy keeps")
      ->type_name("RE=METHOD")
      ->allow_extra_args(false);
  add_encode_flags(*app, call, *flags);
  app->callback([&call, flags] {
    call.takes_faults = true;
    call.run = [&call, flags](const settings& in_force) { return run(call, *flags, in_force); };
  });
}

} // namespace viva::cli
