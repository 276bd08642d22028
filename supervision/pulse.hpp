#pragma once

// Pulse: one page that a ward writes and its guardian reads, without a message and without a lock
// that a death could leave held.
//
//   beats      counted up by a thread that does nothing else: the process runs
//   progress   counted up by the work itself: the work moves
//   mark       what it works on at this moment, a number that its owners understand
//   born       the number of a ward that a nursery forks, written by the system within the fork
//   words      its last words, read after its end only

#include "supervision/descriptor.hpp"

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace viva::supervision {

struct pulse_page {
  std::atomic<std::uint64_t> beats{0}, progress{0}, mark{0};
  std::atomic<std::int32_t> born{0};
  char words[512]{};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "shared between processes");
static_assert(sizeof(std::atomic<std::int32_t>) == sizeof(std::int32_t), "the system writes it");

class pulse {
public:
  /// A new page of the guardian's. Nothing, and errno, where the system gives none.
  static std::optional<pulse> make();
  /// The page behind a descriptor that the guardian gave; refuses what is not one.
  static std::optional<pulse> join(descriptor page);

  pulse(pulse&& other) noexcept
    : x_memory(std::move(other.x_memory)), x_page(std::exchange(other.x_page, nullptr)) {
  }
  pulse& operator=(pulse&& other) noexcept {
    x_memory = std::move(other.x_memory);
    std::swap(x_page, other.x_page);
    return *this;
  }
  ~pulse();

  pulse_page& page() noexcept {
    return *x_page;
  }
  const pulse_page& page() const noexcept {
    return *x_page;
  }
  int native() const noexcept {
    return x_memory.get();
  }

  /// Ward: last words; what does not fit is cut.
  void say(std::string_view text) noexcept;
  /// Guardian: printable ASCII of what was said, whatever stands there.
  std::string words() const;

private:
  pulse(descriptor memory, pulse_page* page) : x_memory(std::move(memory)), x_page(page) {
  }
  descriptor x_memory;
  pulse_page* x_page = nullptr;
};

} // namespace viva::supervision
