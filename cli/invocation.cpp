#include "cli/invocation.hpp"

#include "actors/pipeline/exposition.hpp"
#include "cli/no_memory.hpp"
#include "cli/report.hpp"
#include "cli/signals.hpp"
#include "formats/shown.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <iostream>
#include <new>

#include <poll.h>
#include <unistd.h>

namespace viva::cli {

void add_common_flags(CLI::App& app, invocation& call) {
  app.add_flag("--json", call.json, "print one JSON document on stdout, errors too");
  app.add_option("--conf", call.conf,
                 "settings file (default: VIVA_CONF, ~/.config/viva/viva.toml, "
                 "/etc/viva/viva.toml)");
  add_setting_flags(app, call, {"log_level"});
}

void add_setting_flags(CLI::App& app, invocation& call,
                       std::initializer_list<std::string_view> keys) {
  for (const auto key : keys) {
    const auto& all = setting_rows();
    const auto row = std::ranges::find(all, key, &setting_row::key);
    std::string flag = "--" + std::string(key);
    std::ranges::replace(flag, '_', '-');
    app.add_option_function<std::string>(
           flag,
           [&call, name = std::string(key)](const std::string& text) { call.flags[name] = text; },
           fmt::format("{} ({}; default {})", row->meaning, range_text(*row), row->standard))
        ->type_name(row->what == setting_row::kind::count   ? "N"
                    : row->what == setting_row::kind::bytes ? "SIZE"
                    : row->what == setting_row::kind::text  ? "TEXT"
                                                            : "WORD")
        ->group("Settings");
  }
}

void add_lending_flags(CLI::App& app, invocation& call, node_flags& flags) {
  const auto option = [&](auto* made) { made->group("Nodes"); };
  option(app.add_option("--nodes", flags.nodes,
                        "machines that work on the job, with commas between")
           ->check([](const std::string& given) {
             return given.empty() ? "names no node; leave it out to work here" : std::string();
           })
           ->type_name("HOST:PORT,…"));
  option(app.add_flag("--insecure", flags.insecure,
                      "speak to other machines without certificates"));
  add_setting_flags(app, call, {"tls", "node_timeout"});
}

void add_node_flags(CLI::App& app, invocation& call, node_flags& flags) {
  add_lending_flags(app, call, flags);
  app.add_flag("--shared-fs", flags.shared_fs,
               "nodes open source and output by the same names; no tensor byte is sent")
    ->group("Nodes");
}

void node_flags::apply(job_limits& limits) const {
  limits.shared_fs = shared_fs;
  limits.insecure = insecure;
  for (std::string_view left = nodes; !left.empty();) {
    const auto end = std::min(left.find(','), left.size());
    limits.nodes.emplace_back(left.substr(0, end));
    left.remove_prefix(std::min(end + 1, left.size()));
  }
}

void add_progress_flags(CLI::App& app, invocation& call) {
  app.add_flag("--json-progress", call.progress_lines, "progress as JSON lines on stderr");
  app.add_flag("--no-progress", call.progress_none, "no progress bar on a terminal");
}

void add_report_flags(CLI::App& app, report_options& options) {
  app.add_option("--report", options.file, "write the report to FILE: JSON, or Markdown for *.md")
      ->type_name("FILE");
  app.add_option("--metrics", options.metrics,
                 "what lanes do, for Prometheus' textfile collector: written anew each second and "
                 "at the end")
      ->type_name("FILE");
  app.add_option("--fail-if", options.gate_texts,
                 "exit 4 where this holds for any tensor, for example 'sqnr_db<20'; metrics: "
                     + metric_names())
      ->type_name("GATE")
      ->allow_extra_args(false);
  app.add_option("--rows", options.rows,
                 "rows of the printed table, worst first; 0: all (default 20)")
      ->type_name("N");
}

expected<void> print(std::string_view text) {
  while (!text.empty()) {
    const auto put = ::write(STDOUT_FILENO, text.data(), text.size());
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0 && errno == EAGAIN) { // a pipe that another process made non-blocking
      pollfd wait{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
      ::poll(&wait, 1, -1);
      continue;
    }
    if (put <= 0)
      return fail(errno == ENOSPC ? errc::disk_full : errc::cannot_write,
                  fmt::format("standard output cannot be written: {}", std::strerror(errno)));
    text.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

expected<void> print_json(const nlohmann::ordered_json& document) {
  // Paths and names need not be UTF-8, the document has to be; as ASCII it commands no terminal.
  return print(document.dump(2, ' ', true, nlohmann::ordered_json::error_handler_t::replace)
               + "\n");
}

int answer(const error& problem, bool json) {
  const auto code = static_cast<int>(exit_code_of(problem.code));
  if (json && print_json({{"error", {{"code", to_string(problem.code)}, {"text", problem.text}}}}))
    return code;
  std::cerr << "viva: " << formats::printable(problem.text) << std::endl;
  return code;
}

int guarded(bool json, const std::function<int()>& program) {
  try {
    return program();
  } catch (const std::bad_alloc&) {
    return answer({errc::job_failed, std::string(no_memory_words)}, json);
  } catch (const std::exception& problem) {
    return answer({errc::job_failed, fmt::format("a defect of ours: {}", problem.what())}, json);
  }
}

namespace {

expected<std::vector<gate>> read_gates(const report_options& options, bool dry_run) {
  std::vector<gate> gates;
  for (const auto& text : options.gate_texts) {
    auto parsed = parse_gate(text);
    if (!parsed)
      return tl::make_unexpected(parsed.error());
    if (dry_run && needs_errors(*parsed))
      return fail(errc::bad_option,
                  fmt::format("--fail-if '{}' needs errors, and --dry-run measures "
                              "none; leave one of the two out",
                              text));
    gates.push_back(std::move(*parsed));
  }
  return gates;
}

} // namespace

expected<exit_code> run_job(const invocation& call, const report_options& options, verdict said,
                            const job_paths& paths, const std::string& name,
                            const std::function<expected<job_report>(const job_observer&)>& job) {
  const auto gates = read_gates(options, said.dry_run);
  if (!gates)
    return tl::make_unexpected(gates.error());
  for (const auto& path : {options.file, options.metrics})
    if (!path.empty())
      if (auto place = check_report_path(path, paths); !place)
        return tl::make_unexpected(place.error());

  expected<void> shown; // the metrics, last time
  expected<job_report> report = [&] {
    progress_view view(name, choose_style(call.progress_lines, call.progress_none || said.dry_run));
    job_observer observer{
        .on_progress = view.callback(), .interrupted = &watch_signals(), .door = true};
    if (!options.metrics.empty())
      observer.on_meters = [&](const snapshot& now) {
        shown = write_prometheus(now, options.metrics);
      };
    return job(observer);
  }();
  if (!report)
    return tl::make_unexpected(report.error());

  said.gates = *gates;
  said.failed = failures(*gates, *report);
  // The file first: where it fails, the error is the one document, and a person sees both.
  const auto written =
      options.file.empty() ? expected<void>{} : write_report(options.file, *report, said);
  if ((written && shown) || !call.json)
    if (auto printed = call.json ? print_json(json_report(*report, said))
                                 : print(text_report(*report, said, options.rows));
        !printed)
      return tl::make_unexpected(printed.error());
  for (const auto& file : {written, shown})
    if (!file)
      return tl::make_unexpected(file.error());
  if (said.failed.empty())
    return exit_code::done;
  // With --json the document says it already, and stdout holds exactly one.
  std::cerr << "viva: " << gate_text(said) << std::endl;
  return exit_code::gate_failed;
}

} // namespace viva::cli
