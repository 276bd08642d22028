#pragma once

// Pace: how long batches are out, in ticks of the conductor, and which of them are late. Pure.

#include <cstdint>
#include <map>

namespace viva::actors {

class pace {
public:
  void tick() noexcept {
    ++x_now;
  }
  void out(std::uint64_t batch, std::uint64_t bytes) {
    x_out[batch] = {bytes, x_now};
  }
  void home(std::uint64_t batch) {
    const auto found = x_out.find(batch);
    if (found == x_out.end())
      return;
    x_bytes += found->second.bytes;
    x_ticks += x_now - found->second.since;
    x_out.erase(found);
  }
  /// It will not come home.
  void gone(std::uint64_t batch) {
    x_out.erase(batch);
  }
  /// Out for more than `late_ticks`, and twice as long as so many bytes were so far; before
  /// anything is home nothing is late.
  bool late(std::uint64_t batch) const {
    const auto found = x_out.find(batch);
    if (found == x_out.end() || x_bytes == 0)
      return false;
    const auto age = static_cast<double>(x_now - found->second.since);
    const auto each = static_cast<double>(x_ticks) / static_cast<double>(x_bytes);
    return age > late_ticks && age > 2 * each * static_cast<double>(found->second.bytes);
  }

private:
  static constexpr double late_ticks = 4; // a second

  struct entry {
    std::uint64_t bytes = 0, since = 0;
  };
  std::map<std::uint64_t, entry> x_out;
  std::uint64_t x_now = 0, x_bytes = 0, x_ticks = 0; // of those that are home
};

} // namespace viva::actors
