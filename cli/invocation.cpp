#include "cli/invocation.hpp"

#include "cli/report.hpp"
#include "cli/signals.hpp"

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iostream>

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
                                                            : "WORD")
        ->group("Settings");
  }
}

void add_progress_flags(CLI::App& app, invocation& call) {
  app.add_flag("--json-progress", call.progress_lines, "progress as JSON lines on stderr");
  app.add_flag("--no-progress", call.progress_none, "no progress bar on a terminal");
}

void add_report_flags(CLI::App& app, report_options& options) {
  app.add_option("--report", options.file, "write the report to FILE: JSON, or Markdown for *.md")
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

void print(std::string_view text) {
  std::cout << text << std::flush;
}

void print_json(const nlohmann::ordered_json& document) {
  // Paths and names need not be UTF-8; the document has to be.
  print(document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

expected<exit_code> run_job(const invocation& call, const report_options& options, verdict said,
                            const std::string& name,
                            const std::function<expected<job_report>(const job_observer&)>& job) {
  std::vector<gate> gates;
  for (const auto& text : options.gate_texts) {
    auto parsed = parse_gate(text);
    if (!parsed)
      return tl::make_unexpected(parsed.error());
    gates.push_back(std::move(*parsed));
  }
  if (!options.file.empty())
    if (auto place = check_report_path(options.file); !place)
      return tl::make_unexpected(place.error());

  expected<job_report> report = [&] {
    progress_view view(name, choose_style(call.progress_lines, call.progress_none || said.dry_run));
    return job({.on_progress = view.callback(), .interrupted = &watch_signals(), .door = true});
  }();
  if (!report)
    return tl::make_unexpected(report.error());

  said.gates = gates;
  said.failed = failures(gates, *report);
  if (call.json)
    print_json(json_report(*report, said));
  else
    print(text_report(*report, said, options.rows));
  if (!options.file.empty())
    if (auto written = write_report(options.file, *report, said); !written)
      return tl::make_unexpected(written.error());
  if (said.failed.empty())
    return exit_code::done;
  // With --json the document says it already, and stdout holds exactly one.
  std::cerr << "viva: " << gate_text(said) << std::endl;
  return exit_code::gate_failed;
}

} // namespace viva::cli
