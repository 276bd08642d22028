#pragma once

// Board: how the nodes of a job are, for whoever waits for it. Links and far lanes write, anybody
// reads.

#include "kernels/error.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace viva::actors::node {

class board {
public:
  using clock = std::chrono::steady_clock;
  enum class state : std::uint8_t {
    away,    ///< Not reached, or lost; tried again.
    refused, ///< Reached, and it or we refused: another build, a path it may not open.
    up,
  };

  /// `lane`: of a node that lends several, each with a line of its own.
  void note(const std::string& node, state how, std::string text = {}, std::size_t lane = 0,
            errc why = errc::job_failed) {
    const std::lock_guard lock{x_guard};
    x_lines[{node, lane}] = {how, std::move(text), why};
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
    if (x_lines.empty() || count(state::refused) < x_lines.size())
      return {};
    return x_lines.begin()->first.first + ": " + x_lines.begin()->second.text;
  }
  /// What they refused for, where it is the same for each; else job_failed.
  errc why_refused() const {
    const std::lock_guard lock{x_guard};
    errc all = x_lines.empty() ? errc::job_failed : x_lines.begin()->second.why;
    for (const auto& each : x_lines)
      if (each.second.why != all)
        all = errc::job_failed;
    return all;
  }
  /// A word on each node; of one with several lanes, what the last of them says that is not up.
  std::string text() const {
    const std::lock_guard lock{x_guard};
    std::map<std::string, std::string> nodes;
    for (const auto& [which, how] : x_lines)
      if (auto& words = nodes[which.first]; how.how != state::up)
        words = how.text;
    std::string all;
    for (const auto& [name, words] : nodes)
      all += (all.empty() ? "" : "; ") + name + ": " + (words.empty() ? "up" : words);
    return all;
  }

private:
  struct entry {
    state how = state::away;
    std::string text;
    errc why = errc::job_failed;
  };
  std::size_t count(state how) const {
    std::size_t number = 0;
    for (const auto& each : x_lines)
      number += each.second.how == how ? 1 : 0;
    return number;
  }

  mutable std::mutex x_guard;
  std::map<std::pair<std::string, std::size_t>, entry> x_lines;
  std::optional<clock::time_point> x_alone_since = clock::now();
};

} // namespace viva::actors::node
