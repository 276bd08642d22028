#include "actors/source_guard.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace viva::actors {
namespace {

// Read by a signal handler: no locks, no memory.
struct slot {
  std::atomic<std::uintptr_t> begin{0}, end{0}; ///< end 0: free.
  std::atomic<bool> struck{false};
};
std::array<slot, source_guard::guards_max> slots;
std::mutex slots_guard; // of those who take and free, never of the handler
struct sigaction before;
std::uintptr_t page_bytes = 4096;

void on_bus_error(int, siginfo_t* info, void*) {
  const int kept = errno;
  const auto at = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const bool sent = info->si_code <= 0; // by a process, and about no address
  for (auto& each : slots) {
    const auto end = each.end.load();
    if (sent || at < each.begin.load() || at >= end)
      continue;
    each.struck = true; // before the bytes can be read
    const auto page = at / page_bytes * page_bytes;
    void* there = ::mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
                         MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = kept;
    if (there != MAP_FAILED)
      return;
    break;
  }
  ::sigaction(SIGBUS, &before, nullptr); // the access is repeated and meets who was there before
  if (sent)
    ::raise(SIGBUS);
  errno = kept;
}

void install() {
  page_bytes = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  struct sigaction ours {};
  ours.sa_sigaction = on_bus_error;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&ours.sa_mask);
  ::sigaction(SIGBUS, &ours, &before);
}

} // namespace

source_guard::source_guard(std::span<const std::byte> mapped) {
  static std::once_flag once;
  std::call_once(once, install);
  const std::lock_guard lock{slots_guard};
  for (std::size_t i = 0; i < slots.size() && !mapped.empty(); ++i) {
    auto& each = slots[i];
    if (each.end.load() != 0)
      continue;
    x_slot = i;
    each.struck = false;
    each.begin = reinterpret_cast<std::uintptr_t>(mapped.data());
    each.end = reinterpret_cast<std::uintptr_t>(mapped.data() + mapped.size());
    return;
  }
}

source_guard::source_guard(source_guard&& other) noexcept
    : x_slot(std::exchange(other.x_slot, none)) {
}

source_guard::~source_guard() {
  if (x_slot == none)
    return;
  const std::lock_guard lock{slots_guard};
  slots[x_slot].end = 0;
  slots[x_slot].begin = 0;
}

bool source_guard::struck() const noexcept {
  return x_slot != none && slots[x_slot].struck.load();
}

} // namespace viva::actors
