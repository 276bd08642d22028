#pragma once

// Range set: which bytes of one file are meant, and by how many. A byte that two meant is in it
// until both have taken it out.

#include <cstdint>
#include <map>

namespace viva::actors::node {

class range_set {
public:
  void add(std::uint64_t offset, std::uint64_t bytes);
  /// Once less, where it is in it.
  void remove(std::uint64_t offset, std::uint64_t bytes);
  /// True where all of them are in it; of no bytes, always.
  bool holds(std::uint64_t offset, std::uint64_t bytes) const;
  bool empty() const noexcept {
    return x_depths.empty();
  }
  /// Calls `with(offset, bytes)` for each run of these bytes that is not in it, in order.
  template <class With>
  void each_gap(std::uint64_t offset, std::uint64_t bytes, With with) const {
    const auto end = offset + bytes;
    while (offset < end) {
      const auto next = x_depths.upper_bound(offset);
      const auto stop = next == x_depths.end() ? end : next->first < end ? next->first : end;
      if (depth_before(next) == 0)
        with(offset, stop - offset);
      offset = stop;
    }
  }

private:
  using depths = std::map<std::uint64_t, std::uint32_t>;
  std::uint32_t depth_before(depths::const_iterator at) const;
  depths::iterator split(std::uint64_t at);
  template <class Change>
  void change(std::uint64_t offset, std::uint64_t bytes, Change how);

  depths x_depths; // how many mean the bytes from here to the next; different from the one before
};

} // namespace viva::actors::node
