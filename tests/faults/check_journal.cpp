// viva_check_journal JOURNAL [STRIKES_MAX] [--source S --output OUT.partial --whole W]: what the
// independent checker makes of a journal, and of the bytes of the shards that it calls done, held
// against an undisturbed run's output W; as JSON. Exit 1 where it is damaged or breaks a law, 2
// where something cannot be read.

#include "tests/faults/check_files.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <fstream>
#include <iterator>

namespace {

using namespace viva::faults;

struct asked {
  std::string journal, source, output, whole;
  std::uint32_t strikes_max = 0;
};

int check(const asked& what) {
  std::ifstream in(what.journal, std::ios::binary);
  if (!in)
    return 2;
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  auto found = check_journal(bytes, what.strikes_max);
  const bool damaged = found.is == journal_findings::state::damaged;
  nlohmann::json said{{"damaged", damaged},
                      {"frames", found.frames},
                      {"lives", found.lives},
                      {"done", found.done.size()},
                      {"ever_struck", found.ever_struck},
                      {"quarantined", found.quarantined},
                      {"named", found.named},
                      {"ended", found.ended}};
  if (!what.source.empty() && !damaged) {
    const auto files = check_files(found, what.source, what.output, what.whole);
    if (!files) {
      std::fputs((files.error().text + "\n").c_str(), stderr);
      return 2;
    }
    said["shards_compared"] = files->shards;
    said["bytes_compared"] = files->bytes;
    found.broken.insert(found.broken.end(), files->broken.begin(), files->broken.end());
  }
  said["broken"] = found.broken;
  std::puts(said.dump().c_str());
  return damaged || !found.broken.empty() ? 1 : 0;
}

} // namespace

int main(int argc, char** argv) {
  asked what;
  CLI::App app("Reads a journal, and the output beside it, without the code that wrote them.");
  app.add_option("journal", what.journal, "OUT.journal")->required();
  app.add_option("strikes_max", what.strikes_max, "--attempts of the job; 0: not checked");
  auto* source = app.add_option("--source", what.source, "of the job");
  auto* output = app.add_option("--output", what.output, "OUT.partial, or OUT")->needs(source);
  auto* whole = app.add_option("--whole", what.whole, "the output of the job, undisturbed");
  source->needs(output)->needs(whole);
  whole->needs(source);
  CLI11_PARSE(app, argc, argv);
  return check(what);
}
