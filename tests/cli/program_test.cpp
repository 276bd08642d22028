// The program from outside: exit codes, what is printed where, what is left on disk.

#include "tests/cli/program.hpp"

#include "cli/invocation.hpp"
#include "formats/safetensors.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/catch.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <set>
#include <sstream>
#include <thread>

using namespace viva;
using formats::testing::put;
using formats::testing::tensor;
using tests::temporary_folder;
using tests::text_in;
namespace fs = std::filesystem;

namespace {

using words = std::vector<std::string>;

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::string weights(const std::vector<std::string>& names, std::uint64_t rows = 4) {
  std::vector<formats::tensor_entry> entries;
  for (const auto& name : names)
    entries.push_back(tensor(name, "F32", {rows, 64}));
  return formats::testing::file_of(entries);
}

/// A file of two weights.
std::string source_in(const temporary_folder& folder) {
  return put(folder / "source.safetensors", weights({"a.weight", "b.weight"})).string();
}

/// Exactly one JSON document, or nothing of use.
nlohmann::json document_of(const tests::finished& done) {
  INFO("stdout: " << done.out << "stderr: " << done.err);
  auto document = nlohmann::json::parse(done.out, nullptr, false);
  REQUIRE(document.is_object());
  return document;
}

/// Refused with this code, on one line of stderr; with --json as one document.
void check_refused(int code, words arguments, const std::string& says) {
  const auto done = tests::viva(arguments);
  INFO("exit " << done.code << ", stdout " << done.out << ", stderr " << done.err);
  CHECK(done.code == code);
  CHECK(done.out.empty());
  CHECK(std::ranges::count(done.err, '\n') == 1);
  CHECK(has(done.err, says));
  arguments.emplace_back("--json");
  const auto again = tests::viva(arguments);
  CHECK(again.code == code);
  CHECK(has(document_of(again).at("error").at("text"), says));
}

} // namespace

TEST_CASE("program: a standard output that takes nothing is exit 5, whatever was to be printed") {
  const temporary_folder folder;
  const auto source = source_in(folder);
  for (const auto& arguments :
       {words{"info"}, words{"info", "--json"}, words{"--help"}, words{"--version"},
        words{"inspect", source}, words{"compare", source, source, "--json"},
        words{"compare", source, source},
        words{"synth", (folder / "s").string(), "--size", "1MiB", "--overwrite"}})
    for (const std::string out : {"/dev/full", ""}) {
      INFO(arguments[0] << " into '" << out << "'");
      const auto done = tests::viva_into(out, arguments);
      CHECK(done.code == 5);
      CHECK(has(done.err, "standard output"));
    }
}

TEST_CASE("program: status, tree and measurements that nobody can read end with exit 5, too") {
  const temporary_folder folder;
  const auto source = source_in(folder), out = (folder / "out").string();
  REQUIRE(tests::viva({"quantize", source, "-m", "int8", "-o", out}).code == 0);
  const words throughput{"bench", "throughput", "--tensors", "1000", "--rounds", "1"};
  const words kernels{"bench",    "kernels", "-m",     "int8",          "--only", "decode",
                      "--values", "4096",    "--repetitions", "1"};
  for (const auto& arguments :
       {words{"status", out}, words{"status", out, "--json"}, words{"tree"},
        words{"tree", "--json"}, throughput, kernels, words{"bench", "quality", "-m", "int8"},
        words{"bench", "attention", "--memory", "64"},
        words{"bench", "report", "--tensors", "1000", "--lanes", "1", "--attention-keys", "64",
              "--killed-seconds", "0.1"},
        words{"bench", "nodes", "--rounds", "1", "--mebibytes", "1", "--job-mebibytes", "1",
              "--coordinated", "4", "--shards", "1000"},
        words{"bench", "supervision", "--samples", "100", "--only", "none"}}) {
    INFO(arguments.front() << " " << arguments.back());
    const auto done = tests::viva_into("/dev/full", arguments);
    CHECK(done.code == 5);
    CHECK(has(done.err, "standard output"));
  }
  for (auto arguments : {throughput, kernels}) {
    arguments.insert(arguments.end(), {"--json", "/dev/full"});
    const auto done = tests::viva(arguments);
    CHECK(done.code == 5);
    CHECK(has(done.err, "/dev/full': cannot be written: No space left"));
  }
}

TEST_CASE("program: bench kernels writes a JSON line for each case, with what it promises") {
  const temporary_folder folder;
  const auto file = (folder / "lines").string();
  for (const bool weighed : {false, true}) {
    words arguments{"bench",    "kernels", "-m",     "q4_0", "--only", "encode",
                    "--values", "8192",    "--json", file,   "--repetitions", "1"};
    if (weighed)
      arguments.emplace_back("--weighed");
    REQUIRE(tests::viva(arguments).code == 0);
    std::istringstream lines(text_in(file));
    std::set<std::string> seen;
    for (std::string text; std::getline(lines, text);) {
      const auto line = nlohmann::json::parse(text);
      for (const auto* key : {"method", "op", "path", "isa", "dtype", "values", "threads",
                              "values_per_s", "mad", "ratio_to_limit", "ratio_to_reference"})
        CHECK(line.contains(key));
      seen.insert(line.at("method").get<std::string>() + " " + line.at("op").get<std::string>()
                  + " " + line.at("path").get<std::string>());
    }
    const std::string name = weighed ? "q4_0 weighed" : "q4_0";
    for (const auto& wanted : {name + " encode reference", name + " encode simd",
                               std::string("machine read simd"), std::string("machine write simd"),
                               std::string("machine copy simd")})
      CHECK(seen.contains(wanted));
  }
}

TEST_CASE("program: a job whose standard streams are closed does not print into its output") {
  const temporary_folder folder;
  const auto source = source_in(folder);
  const auto out = (folder / "out.safetensors").string(), twin = (folder / "twin").string();
  CHECK(tests::viva({"quantize", source, "-m", "int8", "-o", twin}).code == 0);
  CHECK(tests::wait_for(tests::start_viva({"quantize", source, "-m", "int8", "-o", out}, -1, -1))
        == 5);
  CHECK(text_in(out) == text_in(twin));
}

TEST_CASE("program: with --json a report file that fails is the one document") {
  const temporary_folder folder;
  const auto source = source_in(folder);
  const auto done = tests::viva({"compare", source, source, "--json", "--report", "/dev/full"});
  CHECK(done.code == 5);
  CHECK(document_of(done).at("error").at("code") == "disk_full");
  const auto person = tests::viva({"compare", source, source, "--report", "/dev/full"});
  CHECK(person.code == 5);
  CHECK(has(person.out, "2 compared")); // the work is done and worth reading
}

TEST_CASE("program: an exception is answered as one document, too") {
  const temporary_folder folder;
  const int kept = ::dup(STDOUT_FILENO);
  const int file = ::open((folder / "out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ::dup2(file, STDOUT_FILENO);
  const int code = cli::guarded(true, []() -> int { throw std::runtime_error("at \xff"); });
  ::dup2(kept, STDOUT_FILENO);
  ::close(kept);
  ::close(file);
  CHECK(code == 1);
  const auto document = nlohmann::json::parse(text_in(folder / "out"));
  CHECK(has(document.at("error").at("text"), "a defect of ours: at"));
}

TEST_CASE("program: names of tensors cannot command the terminal or the report's Markdown") {
  const temporary_folder folder;
  const std::string name = "\x1b]0;x\x07|<b>\xc2\x9b.weight";
  const auto source = put(folder / "x.safetensors", weights({name, "b.weight"})).string();
  const auto other = put(folder / "y\x1b[1m.safetensors", weights({"b.weight"})).string();
  const auto report = (folder / "r.md").string();
  for (const auto& arguments :
       {words{"inspect", source}, words{"inspect", other}, words{"compare", source, source},
        words{"quantize", source, "-m", "int8", "-o", (folder / "o\x1b[1m").string()},
        words{"compare", source, other, "--fail-if", "sqnr_db<1"},
        words{"compare", source, source, "--fail-if", "sqnr_db>1", "--report", report}}) {
    const auto done = tests::viva(arguments);
    INFO(done.out << done.err);
    for (const auto* text : {&done.out, &done.err}) {
      CHECK_FALSE(has(*text, "\x1b"));
      CHECK_FALSE(has(*text, "\x07"));
      CHECK_FALSE(has(*text, "\xc2\x9b"));
    }
    CHECK((has(done.out, "\\x1b")));
  }
  const auto markdown = text_in(report);
  CHECK(has(markdown, "\\\\x1b]0;x\\\\x07\\|\\<b\\>") == false); // ']' is escaped as well
  CHECK(has(markdown, "\\\\x1b\\]0;x\\\\x07\\|\\<b\\>\\\\xc2\\\\x9b.weight | "));
  CHECK_FALSE(has(markdown, "\x1b"));
}

TEST_CASE("program: a report never takes the place of what the job reads or writes") {
  const temporary_folder folder;
  fs::create_directory(folder / "model");
  const auto weights_file = put(folder / "model/model.safetensors", weights({"a.weight"}));
  const auto config = put(folder / "model/config.json", "{\"x\":1}");
  fs::create_hard_link(config, folder / "hard");
  fs::create_symlink(weights_file, folder / "soft");
  fs::create_symlink(folder / "out", folder / "dangling");
  fs::create_directory(folder / "other");
  fs::create_directory_symlink(folder / "other", folder / "way");
  const auto model = (folder / "model").string(), out = (folder / "out").string();
  const auto before = text_in(weights_file);
  for (const auto& report :
       {weights_file, config, folder / "hard", folder / "soft",
        folder / "model/../model/config.json", folder / "out", folder / "out.partial",
        folder / "out.journal", folder / "other/../out.journal"}) {
    INFO(report);
    check_refused(2, {"quantize", model, "-m", "int8", "-o", out, "--report", report.string()},
                  "the report would");
    check_refused(2, {"dequantize", model, "-o", out, "--report", report.string()},
                  "the report would");
  }
  const auto stats = put(folder / "stats.imatrix", "mine").string();
  check_refused(2, {"prune", model, "-o", out, "--stats", stats, "--report", stats},
                "the report would");
  CHECK(text_in(stats) == "mine");
  check_refused(2, {"compare", model, model, "--report", (folder / "hard").string()},
                "the report would");
  check_refused(2,
                {"quantize", model, "-m", "int8", "-o", (folder / "other").string(), "--overwrite",
                 "--report", (folder / "way/r.json").string()},
                "the report would");
  check_refused(
      5, {"quantize", model, "-m", "int8", "-o", out, "--report", (folder / "dangling").string()},
      "link to nothing");
  CHECK(text_in(weights_file) == before);
  CHECK(text_in(config) == "{\"x\":1}");
  CHECK_FALSE(fs::exists(out));
  const auto fine = (folder / "r.json").string();
  CHECK(tests::viva({"quantize", model, "-m", "int8", "-o", out, "--report", fine}).code == 0);
  CHECK(tests::viva({"compare", model, out, "--report", fine}).code == 0); // over its own report
}

TEST_CASE("program: gates fail on tensors that have no counterpart, and name them") {
  const temporary_folder folder;
  const auto a = source_in(folder);
  const auto b = put(folder / "b.safetensors", weights({"a.weight", "new.weight"})).string();
  const auto c = put(folder / "c.safetensors", weights({"a.weight", "b.weight"}, 8)).string();
  CHECK(tests::viva({"compare", a, a, "--fail-if", "sqnr_db<1"}).code == 0);
  CHECK(tests::viva({"compare", a, b}).code == 0); // nobody asked for a gate
  const auto missing = tests::viva({"compare", a, b, "--fail-if", "sqnr_db<1"});
  CHECK(missing.code == 4);
  CHECK(has(missing.err, "b.weight (missing in"));
  CHECK(has(missing.err, "new.weight (missing in"));
  CHECK(has(missing.out, "1 compared, 2 not"));
  const auto shapes = tests::viva({"compare", a, c, "--fail-if", "sqnr_db<1", "--json"});
  CHECK(shapes.code == 4);
  const auto failed = document_of(shapes).at("gates").at("failed");
  REQUIRE(failed.size() == 2);
  CHECK(failed[0].at("value").is_null());
  CHECK(failed[0].at("why") == "shapes differ");
}

TEST_CASE("program: --metrics keeps a whole file for Prometheus while a job runs, and at its end") {
  const temporary_folder folder;
  const auto source = source_in(folder);
  const auto metrics = (folder / "viva.prom").string();
  words order = {"quantize", source, "-m", "int8", "-o", (folder / "out.safetensors").string(),
                 "--metrics", metrics};
  REQUIRE(tests::viva(order).code == 0);
  const auto text = text_in(metrics);
  CHECK(has(text, "viva_method_values_total{method=\"int8\"} 512"));
  CHECK(has(text, "viva_updates_total"));
  CHECK_FALSE(fs::exists(metrics + ".partial"));
  // One that hangs shows what it has, until it is stopped.
  fs::remove(metrics);
  for (const auto* word : {"--overwrite", "--allow-faults", "--fault", "hang-at=1"})
    order.emplace_back(word);
  const auto hung = tests::start_viva(order, -1, -1);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{20};
  while (!fs::exists(metrics) && std::chrono::steady_clock::now() < until)
    std::this_thread::yield();
  const auto meanwhile = text_in(metrics);
  ::kill(hung, SIGKILL);
  tests::wait_for(hung);
  CHECK(has(meanwhile, "viva_updates_total"));
  CHECK(meanwhile.ends_with("\n"));
  order.resize(6);
  check_refused(5, [&] {
    auto into_nothing = order;
    into_nothing.insert(into_nothing.end(), {"--metrics", (folder / "none" / "x.prom").string()});
    return into_nothing;
  }(), "x.prom");
}

TEST_CASE("program: a dry run refuses gates on errors that it does not measure") {
  const temporary_folder folder;
  const words dry = {"quantize", source_in(folder), "-m", "int8", "--dry-run", "--fail-if"};
  auto gated = dry;
  gated.emplace_back("sqnr_db<20");
  check_refused(2, gated, "--dry-run");
  auto bits = dry;
  bits.emplace_back("bits_per_weight>8");
  CHECK(tests::viva(bits).code == 4);
}

TEST_CASE("program: an output may end in '/', and is the same without") {
  const temporary_folder folder;
  const auto made = (folder / "made").string(), less = (folder / "less").string(),
             back = (folder / "back").string();
  CHECK(tests::viva({"synth", made + "/", "--size", "1MiB"}).code == 0);
  CHECK(tests::viva({"quantize", made + "/", "-m", "int8", "-o", less + "//"}).code == 0);
  CHECK(tests::viva({"dequantize", less + "/", "-o", back + "/"}).code == 0);
  CHECK(fs::exists(folder / "back/model.safetensors"));
  check_refused(2, {"quantize", made, "-m", "int8", "-o", "/"}, "no name");
}

TEST_CASE("program: paths that the system refuses are refused, not thrown") {
  const temporary_folder folder;
  const auto source = source_in(folder);
  fs::create_symlink(folder / "loop", folder / "loop");
  const std::string name(300, 'n');
  const auto loop = (folder / "loop").string(), longest = (folder / name).string();
  for (const auto& bad : {longest, loop + "/x", source + "/x"}) {
    INFO(bad);
    check_refused(3, {"inspect", bad}, "cannot open");
    check_refused(3, {"quantize", bad, "-m", "int8", "-o", (folder / "o").string()}, "cannot open");
  }
  for (const auto& bad : {longest, loop + "/x", (folder / std::string(250, 'n')).string()}) {
    INFO(bad);
    check_refused(5, {"quantize", source, "-m", "int8", "-o", bad}, "can be no output");
    check_refused(5, {"dequantize", source, "-o", bad}, "can be no output");
    check_refused(5, {"synth", bad, "--size", "1MiB"}, "can be no output");
  }
  for (const auto& bad : {longest, loop, loop + "/x", source + "/x"}) {
    INFO(bad);
    check_refused(5, {"compare", source, source, "--report", bad}, "report could not be written");
  }
}

TEST_CASE("program: a settings file that is a folder or cannot be read is named") {
  const temporary_folder folder;
  check_refused(2, {"info", "--conf", folder.path().string()}, folder.path().string());
  check_refused(3, {"info", "--conf", (folder / "none.toml").string()}, "none.toml");
}

TEST_CASE("program: a rule's method is checked although no tensor meets the rule") {
  const temporary_folder folder;
  const auto source = source_in(folder);
  check_refused(2, {"quantize", source, "-m", "nf4", "--dry-run", "--rule", "nomatch=bogus"},
                "bogus");
  const auto vast =
      put(folder / "vast.safetensors", weights({std::string(60'000, 'a') + ".weight"}));
  CHECK(tests::viva({"quantize", vast.string(), "-m", "nf4", "--dry-run", "--exclude", "(a*)*$x"})
            .code
        == 0);
}

TEST_CASE("program: statistics that no method of the job looks at are refused") {
  const temporary_folder folder;
  const auto source = source_in(folder), out = (folder / "out").string();
  check_refused(2, {"quantize", source, "-m", "nf4", "--stats", source, "-o", out},
                "method nf4 does not look at statistics; leave --stats out");
  CHECK_FALSE(fs::exists(out));
}

TEST_CASE("program: synth stops at Ctrl-C, leaves nothing, and the same command works") {
  const temporary_folder folder;
  const auto out = (folder / "deep/llama").string();
  int pipe[2] = {};
  REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
  const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  const auto child =
      tests::start_viva({"synth", out, "--size", "256MiB", "--json-progress"}, nowhere, pipe[1]);
  ::close(pipe[1]);
  ::close(nowhere);
  char first = 0;
  REQUIRE(::read(pipe[0], &first, 1) == 1); // it writes values now
  ::kill(child, SIGINT);
  CHECK(tests::wait_for(child) == 130);
  ::close(pipe[0]);
  CHECK_FALSE(fs::exists(folder / "deep"));
  CHECK(tests::viva({"synth", out, "--size", "1MiB"}).code == 0);
}
