// viva_bad_network HOST PORT: the three ports of a node (control, bulk bytes, signs of life) on
// loopback, by the same numbers, forwarded to HOST. Says "ready", then takes a command a line and
// answers "ok"; a line that it does not know ends it with 2, the end of its input with 0.
//
//   control | bulk | life   there | back   forward | hold | drop | twice
//   control | bulk | life   delay MS
//   control | bulk | life   cut

#include "tests/support/proxy.hpp"

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <map>
#include <sstream>

using viva::tests::proxy;

namespace {

const std::map<std::string, int> ports{{"control", 0}, {"bulk", 1}, {"life", 2}};
const std::map<std::string, proxy::way> ways{{"there", proxy::way::there},
                                             {"back", proxy::way::back}};
const std::map<std::string, proxy::mood> moods{{"forward", proxy::mood::forward},
                                               {"hold", proxy::mood::hold},
                                               {"drop", proxy::mood::drop},
                                               {"twice", proxy::mood::twice}};

void say(const char* word) {
  std::puts(word);
  std::fflush(stdout);
}

bool obey(std::map<int, proxy>& all, const std::string& line) {
  std::istringstream in(line);
  std::string port, what;
  int milliseconds = 0;
  in >> port >> what;
  if (!ports.contains(port))
    return false;
  auto& one = all.at(ports.at(port));
  if (what == "cut") {
    one.cut();
  } else if (what == "delay" && in >> milliseconds && milliseconds >= 0) {
    one.delay(std::chrono::milliseconds{milliseconds});
  } else {
    std::string mood;
    in >> mood;
    if (!ways.contains(what) || !moods.contains(mood))
      return false;
    one.set(ways.at(what), moods.at(mood));
  }
  return true;
}

} // namespace

int main(int argc, char** argv) {
  if (argc != 3)
    return 2;
  const int first = std::atoi(argv[2]);
  std::map<int, proxy> all;
  try {
    for (int i = 0; i < 3; ++i) {
      const auto port = static_cast<std::uint16_t>(first + i);
      all.try_emplace(i, port, argv[1], port);
    }
  } catch (const std::exception& why) {
    std::fprintf(stderr, "%s\n", why.what());
    return 2;
  }
  say("ready");
  for (std::string line; std::getline(std::cin, line);) {
    if (!obey(all, line))
      return 2;
    say("ok");
  }
  return 0;
}
