// check_journal FILE [STRIKES_MAX]: what the independent checker makes of a journal, as JSON.
// Exit 1 where it is damaged or breaks a law, 2 where it cannot be read.

#include "tests/faults/checker.hpp"

#include <nlohmann/json.hpp>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

int main(int argc, char** argv) {
  if (argc < 2)
    return 2;
  std::ifstream in(argv[1], std::ios::binary);
  if (!in)
    return 2;
  const std::string bytes{std::istreambuf_iterator<char>(in), {}};
  const auto strikes = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 0;
  using viva::faults::journal_findings;
  const auto found = viva::faults::check_journal(bytes, static_cast<std::uint32_t>(strikes));
  const bool damaged = found.is == journal_findings::state::damaged;
  const nlohmann::json said{{"damaged", damaged},
                            {"frames", found.frames},
                            {"done", found.done.size()},
                            {"ever_struck", found.ever_struck},
                            {"quarantined", found.quarantined},
                            {"named", found.named},
                            {"broken", found.broken}};
  std::puts(said.dump().c_str());
  return damaged || !found.broken.empty() ? 1 : 0;
}
