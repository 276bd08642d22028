#include "actors/node/roots.hpp"

#include <algorithm>

namespace viva::actors::node {
namespace fs = std::filesystem;

expected<std::vector<fs::path>> parse_roots(std::string_view text) {
  std::vector<fs::path> roots;
  while (!text.empty()) {
    const auto end = std::min(text.find(':'), text.size());
    const fs::path each = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::error_code why;
    const auto whole = fs::canonical(each, why);
    if (!each.is_absolute() || why || !fs::is_directory(whole, why))
      return fail(errc::bad_option, "roots: '" + each.string() + "' is no absolute folder that is "
                                    "there; write for example /data:/models");
    roots.push_back(whole);
  }
  return roots;
}

expected<void> check_below(const std::vector<fs::path>& roots, const fs::path& file) {
  std::error_code why;
  const auto whole = fs::weakly_canonical(file, why);
  const bool below = !why && file.is_absolute()
                     && std::ranges::any_of(roots, [&](const fs::path& root) {
                          const auto end = std::ranges::mismatch(root, whole).in1;
                          return end == root.end() && whole != root;
                        });
  if (!below)
    return fail(errc::bad_option, file.string() + ": lies below none of this node's roots; name "
                                  "one with --roots, or roots in its settings file");
  return {};
}

} // namespace viva::actors::node
