// The program `viva`. One file per subcommand; here are only the command line's edge, the log, and
// the one place where an error becomes a line and an exit code.

#include "cli/invocation.hpp"
#include "cli/no_memory.hpp"

#include "actors/lane_process.hpp"
#include "actors/version.hpp"

#include <spdlog/fmt/fmt.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <new>
#include <span>
#include <sstream>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

namespace viva::cli {

namespace {

/// A command line that cannot be read has not said yet whether it wants JSON.
bool asks_for_json(int argc, char** argv) {
  return std::ranges::any_of(std::span(argv, static_cast<std::size_t>(argc)),
                             [](const char* arg) { return arg == std::string_view("--json"); });
}

/// Descriptors 0 to 2 that a caller closed would be given to files we open, and prints would land
/// in them. What is opened here can be read only, so a print still fails.
void hold_standard_streams() {
  while (true) {
    const int descriptor = ::open("/dev/null", O_RDONLY);
    if (descriptor < 0 || descriptor > STDERR_FILENO) {
      ::close(descriptor);
      return;
    }
  }
}

std::terminate_handler terminate_before = nullptr;

void set_log(const settings& in_force) {
  auto logger =
      std::make_shared<spdlog::logger>("viva", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  // On a terminal a line of the log wipes the progress bar, which is then drawn anew below it.
  logger->set_pattern(::isatty(STDERR_FILENO) == 1 ? "\r\033[K%Y-%m-%d %H:%M:%S.%f %l %v"
                                                   : "%Y-%m-%d %H:%M:%S.%f %l %v");
  logger->set_level(spdlog::level::from_str(in_force.at("log_level").text));
  spdlog::set_default_logger(std::move(logger));
}

/// A thread that gets no memory and cannot end alone ends the program, whose job can be resumed.
[[noreturn]] void on_terminate() {
  try {
    if (std::current_exception())
      std::rethrow_exception(std::current_exception());
  } catch (const std::bad_alloc&) { // what follows asks for no memory
    for (const auto text : {std::string_view("viva: "), no_memory_words, std::string_view("\n")})
      if (::write(STDERR_FILENO, text.data(), text.size()) < 0)
        break;
    std::_Exit(static_cast<int>(exit_code::job_failed));
  } catch (...) {
    terminate_before();
  }
  std::abort();
}

/// Faults on purpose must never be left standing by mistake, not even where nobody reads them.
expected<void> check_faults(const invocation& call, const settings& in_force) {
  const auto& faults = in_force.at("faults");
  if (faults.text.empty() || call.takes_faults)
    return {};
  return fail(errc::bad_option,
              fmt::format("faults = '{}' ({}) break jobs on purpose, and this command has none to "
                          "break; only quantize and prune do, with --allow-faults. Unset it",
                          faults.text, faults.origin));
}

int run(int argc, char** argv) {
  CLI::App app("viva compresses tensors on supervised actors.", "viva");
  app.set_version_flag("--version", std::string("viva ") + actors::version);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done, 1 job failed (resumable), 2 usage, 3 bad input, 4 a --fail-if gate\n"
      "failed, 5 output could not be written, 130 interrupted (resumable).");
  invocation call;
  for (const auto add : {add_synth, add_quantize, add_prune, add_dequantize, add_compare,
                         add_inspect, add_info, add_attention, add_bench, add_status, add_tree,
                         add_node, add_nodes, add_certs})
    add(app, call);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) { // CLI11 reports --help this way, too
    if (problem.get_exit_code() == 0) {
      std::ostringstream text;
      app.exit(problem, text, text);
      const auto printed = print(text.str());
      return printed ? 0 : answer(printed.error(), false);
    }
    return answer({errc::bad_option, fmt::format("{}; see viva --help", problem.what())},
                  asks_for_json(argc, argv));
  }
  auto sources = setting_sources::from_process();
  sources.flags = call.flags;
  if (!call.conf.empty())
    sources.conf = call.conf;
  const auto in_force = settle(sources);
  if (!in_force)
    return answer(in_force.error(), call.json);
  if (auto none = check_faults(call, *in_force); !none)
    return answer(none.error(), call.json);
  set_log(*in_force);
  const auto done = call.run(*in_force);
  return done ? static_cast<int>(*done) : answer(done.error(), call.json);
}

} // namespace

} // namespace viva::cli

int main(int argc, char** argv) {
  // Not for people: a running viva starts its lanes so, often, and they need no command line.
  if (argc >= 2 && argv[1] == std::string_view("lane"))
    return argc == 2   ? viva::actors::run_lane_process()
           : argc == 4 ? viva::actors::run_device_lane(std::atoi(argv[3])) // lane cuda NUMBER
                       : viva::actors::run_lane_nursery();
  viva::cli::terminate_before = std::set_terminate(viva::cli::on_terminate);
  viva::cli::hold_standard_streams();
  return viva::cli::guarded(viva::cli::asks_for_json(argc, argv),
                            [&] { return viva::cli::run(argc, argv); });
}
