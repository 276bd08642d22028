#include "actors/pipeline/shared_bytes.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

namespace viva::actors {

// Sealed in its size, so that no lane can cut it short under those who read it.
expected<std::shared_ptr<shared_region>> shared_region::make(std::uint64_t bytes) {
  const auto refuse = [&](const char* doing) {
    return fail(errc::over_budget, "memory to share, " + std::to_string(bytes) + " bytes: "
                                     + doing + ": " + std::strerror(errno)
                                     + "; ask for less, or free some");
  };
  const int fd = ::memfd_create("viva-tensors", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return refuse("no memory file");
  void* at = MAP_FAILED;
  if (bytes != 0 && ::ftruncate(fd, static_cast<off_t>(bytes)) == 0
      && ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
    at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) {
    auto why = refuse("not mapped");
    ::close(fd);
    return why;
  }
  ::madvise(at, bytes, MADV_HUGEPAGE); // where the system grants them to shared memory
  return std::shared_ptr<shared_region>(
    new shared_region(fd, static_cast<std::byte*>(at), bytes));
}

shared_region::~shared_region() {
  ::munmap(x_data, x_size);
  ::close(x_fd);
  if (on_gone)
    on_gone();
}

expected<std::shared_ptr<shared_region>> shared_table::make(std::uint64_t bytes) {
  auto made = shared_region::make(bytes);
  if (!made)
    return made;
  const std::lock_guard lock{x_guard};
  std::erase_if(x_regions, [](const auto& each) { return each.second.expired(); });
  (*made)->id = ++x_last_id;
  (*made)->on_gone = x_on_gone;
  x_regions[(*made)->data()] = *made;
  return made;
}

std::optional<shared_table::place> shared_table::find(const std::byte* from,
                                                      std::uint64_t bytes) const {
  std::shared_ptr<shared_region> region; // let go of, if it is the last, after the lock
  const std::lock_guard lock{x_guard};
  auto after = x_regions.upper_bound(from);
  if (after == x_regions.begin())
    return std::nullopt;
  region = std::prev(after)->second.lock();
  if (!region)
    return std::nullopt;
  const auto offset = static_cast<std::uint64_t>(from - region->data());
  if (offset > region->size() || bytes > region->size() - offset)
    return std::nullopt;
  return place{std::move(region), offset};
}

} // namespace viva::actors
