#pragma once

// Board: how the nodes of a job are, for whoever waits for it. Links and far lanes write, anybody
// reads.

#include "kernels/error.hpp"

#include <algorithm>
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
    auto& line = x_lines[{node, lane}];
    if (how == state::refused || !line.owes_good)
      line = {how, std::move(text), why, how == state::refused && why != errc::job_failed};
    else // met anew, perhaps; it refused for something that nobody saw go away yet
      line.how = how;
    const bool any = count(state::up) > 0;
    if (any)
      x_alone_since.reset();
    else if (!x_alone_since)
      x_alone_since = clock::now();
  }
  /// A node that lends one line did some of what it may have refused to do.
  void did_well(const std::string& node) {
    const std::lock_guard lock{x_guard};
    const auto found = x_lines.find({node, 0});
    if (found != x_lines.end() && found->second.owes_good)
      found->second = {found->second.how, {}, errc::job_failed, false};
  }
  /// Lanes that nobody hears of any more may write into shared files until then.
  void let_go(clock::time_point until) {
    const std::lock_guard lock{x_guard};
    x_written_until = std::max(x_written_until, until);
  }
  clock::time_point written_until() const {
    const std::lock_guard lock{x_guard};
    return x_written_until;
  }
  /// Since when no node has been up.
  std::optional<clock::time_point> alone_since() const {
    const std::lock_guard lock{x_guard};
    return x_alone_since;
  }
  /// Why the first of them refused, where every single one has, and none has done since what it
  /// refused; else ok. Its code is job_failed where they refused for several reasons.
  error all_refused() const {
    const std::lock_guard lock{x_guard};
    const auto refuses = [](const auto& each) {
      return each.second.how == state::refused || each.second.owes_good;
    };
    if (x_lines.empty() || !std::ranges::all_of(x_lines, refuses))
      return {};
    const auto& [first, line] = *x_lines.begin();
    const bool alike = std::ranges::all_of(
      x_lines, [&](const auto& each) { return each.second.why == line.why; });
    return {alike ? line.why : errc::job_failed, first.first + ": " + line.text};
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
    bool owes_good = false; ///< Since it refused what another try may show to be over.
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
  clock::time_point x_written_until{};
};

} // namespace viva::actors::node
