#pragma once

// Range set: which bytes of one file are meant. Ranges that touch are one.

#include <cstdint>
#include <map>

namespace viva::actors::node {

class range_set {
public:
  void add(std::uint64_t offset, std::uint64_t bytes);
  void remove(std::uint64_t offset, std::uint64_t bytes);
  /// True where all of them are in it; of no bytes, always.
  bool holds(std::uint64_t offset, std::uint64_t bytes) const;
  bool empty() const noexcept {
    return x_ends.empty();
  }

private:
  std::map<std::uint64_t, std::uint64_t> x_ends; // of each range, by its begin
};

} // namespace viva::actors::node
