#pragma once

// Board: how the nodes of a job are, for whoever waits for it. Links write, anybody reads.

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace viva::actors::node {

class board {
public:
  using clock = std::chrono::steady_clock;
  enum class state : std::uint8_t {
    away,    ///< Not reached, or lost; tried again.
    refused, ///< Reached, and it or we refused: another build, a path it may not open.
    up,
  };

  void note(const std::string& node, state how, std::string text = {}) {
    const std::lock_guard lock{x_guard};
    x_nodes[node] = {how, std::move(text)};
    const bool any = count(state::up) > 0;
    if (any)
      x_alone_since.reset();
    else if (!x_alone_since)
      x_alone_since = clock::now();
  }
  /// Since when no node has been up.
  std::optional<clock::time_point> alone_since() const {
    const std::lock_guard lock{x_guard};
    return x_alone_since;
  }
  /// Why the first of them refused, where every single one has; else empty.
  std::string all_refused() const {
    const std::lock_guard lock{x_guard};
    if (x_nodes.empty() || count(state::refused) < x_nodes.size())
      return {};
    return x_nodes.begin()->first + ": " + x_nodes.begin()->second.text;
  }
  std::string text() const {
    const std::lock_guard lock{x_guard};
    std::string all;
    for (const auto& [name, how] : x_nodes)
      all += (all.empty() ? "" : "; ") + name + ": " + (how.text.empty() ? "up" : how.text);
    return all;
  }

private:
  struct entry {
    state how = state::away;
    std::string text;
  };
  std::size_t count(state how) const {
    std::size_t number = 0;
    for (const auto& each : x_nodes)
      number += each.second.how == how ? 1 : 0;
    return number;
  }

  mutable std::mutex x_guard;
  std::map<std::string, entry> x_nodes;
  std::optional<clock::time_point> x_alone_since = clock::now();
};

} // namespace viva::actors::node
