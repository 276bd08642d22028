#include "cli/stamp.hpp"

#include "cli/build_facts.hpp"

#include <fstream>
#include <utility>

namespace viva::cli {

const std::string& cpu_name() {
  static const auto name = []() -> std::string {
    std::ifstream in("/proc/cpuinfo");
    for (std::string line; std::getline(in, line);)
      if (const auto at = line.find(": "); line.starts_with("model name") && at != line.npos)
        return line.substr(at + 2);
    return "unknown";
  }();
  return name;
}

nlohmann::ordered_json stamped(nlohmann::ordered_json line) {
  line["cpu"] = cpu_name();
  line["compiler"] = build_compiler;
  line["commit"] = build_commit;
  return line;
}

} // namespace viva::cli
