#pragma once

// Beat log: what one side of a connection for signs of life has said when, and heard of. Each beat
// says which one of the peer's was heard last, so that who said it knows: then I was heard.

#include "actors/lease.hpp"

#include <array>
#include <cstdint>
#include <optional>

namespace viva::actors::node {

class beat_log {
public:
  /// Before it leaves: the number of the next beat.
  std::uint64_t say(lease::time now) noexcept {
    x_said[++x_last % kept] = now;
    return x_last;
  }
  void hear(std::uint64_t number) noexcept {
    x_heard = number;
  }
  /// The peer's last one; 0 where none has come.
  std::uint64_t heard() const noexcept {
    return x_heard;
  }
  /// Whether a peer can have heard this one.
  bool has_said(std::uint64_t number) const noexcept {
    return number <= x_last;
  }
  /// When it was said; nothing where that is no number of a beat, or long ago.
  std::optional<lease::time> when(std::uint64_t number) const noexcept {
    if (number == 0 || !has_said(number) || x_last - number >= kept)
      return std::nullopt;
    return x_said[number % kept];
  }

private:
  static constexpr std::uint64_t kept = 64; // of 100 ms: longer than any lease
  std::array<lease::time, kept> x_said{};
  std::uint64_t x_last = 0, x_heard = 0;
};

} // namespace viva::actors::node
