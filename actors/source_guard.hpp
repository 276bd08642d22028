#pragma once

// Source guard: what happens when a mapped source loses its bytes while lanes read it, because
// somebody truncates it or its disk fails. The system raises SIGBUS in the thread that touches
// them, which would end the process. Here the bytes read as zeros from then on and the guard
// remembers, so that whoever read them can throw its result away and say why.
//
// The handler is installed with the first guard and hands on every SIGBUS that is not of a guarded
// range. At most `guards_max` at a time; further ones guard nothing.

#include <cstddef>
#include <cstdint>
#include <span>

namespace viva::actors {

class source_guard {
public:
  static constexpr std::size_t guards_max = 4096;

  explicit source_guard(std::span<const std::byte> mapped);
  source_guard(source_guard&& other) noexcept;
  source_guard& operator=(source_guard&&) = delete;
  ~source_guard();

  /// True once bytes of the range could not be read; any thread.
  bool struck() const noexcept;

private:
  static constexpr std::size_t none = ~std::size_t{0};
  std::size_t x_slot = none;
};

} // namespace viva::actors
