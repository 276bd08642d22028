#include "actors/lease.hpp"

#include <cerrno>
#include <cstring>
#include <ctime>
#include <new>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

namespace viva::actors {
namespace {

constexpr std::size_t page_bytes = sizeof(std::int64_t);

tl::unexpected<error> failed(const char* doing) {
  return fail(errc::fault, std::string("a lease: ") + doing + ": " + std::strerror(errno));
}

void* map(int fd, int protection) noexcept {
  return ::mmap(nullptr, page_bytes, protection, MAP_SHARED, fd, 0);
}

/// A lane can neither extend it nor take its bytes away. Before Linux 5.1 nothing keeps it from the
/// first but that no lane does.
bool seal(int fd) noexcept {
  constexpr unsigned size = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  return ::fcntl(fd, F_ADD_SEALS, size | F_SEAL_FUTURE_WRITE) == 0
         || (errno == EINVAL && ::fcntl(fd, F_ADD_SEALS, size) == 0);
}

} // namespace

lease::time lease::now() noexcept {
  timespec at{};
  ::clock_gettime(CLOCK_BOOTTIME, &at);
  return std::chrono::seconds{at.tv_sec} + std::chrono::nanoseconds{at.tv_nsec};
}

expected<std::shared_ptr<lease>> lease::make(time until) {
  auto page = std::make_shared<supervision::descriptor>(
    ::memfd_create("viva-lease", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!*page || ::ftruncate(page->get(), page_bytes) != 0)
    return failed("no memory file");
  void* at = map(page->get(), PROT_READ | PROT_WRITE);
  if (at == MAP_FAILED)
    return failed("it cannot be mapped");
  auto* moves = new (at) moment{until.count()};
  std::shared_ptr<lease> made{new lease(page, moves)};
  if (!seal(page->get()))
    return failed("it cannot be sealed");
  return made;
}

expected<std::shared_ptr<lease>> lease::join(const supervision::descriptor& page) {
  struct stat info {};
  if (::fstat(page.get(), &info) != 0 || info.st_size != page_bytes)
    return fail(errc::fault, "a lease of a lane that is none");
  void* at = map(page.get(), PROT_READ);
  if (at == MAP_FAILED)
    return failed("it cannot be mapped");
  return std::shared_ptr<lease>{new lease(nullptr, static_cast<moment*>(at))};
}

lease::~lease() {
  ::munmap(x_until, page_bytes);
}

void lease::extend(time until) noexcept {
  auto was = x_until->load(std::memory_order_relaxed);
  while (was != 0 && was < until.count()
         && !x_until->compare_exchange_weak(was, until.count(), std::memory_order_release,
                                            std::memory_order_relaxed)) {
  }
}

lease_over::lease_over()
  : std::runtime_error("its coordinator is gone or was not heard of, and may have given this work "
                       "to another; nothing more of it is written") {
}

} // namespace viva::actors
