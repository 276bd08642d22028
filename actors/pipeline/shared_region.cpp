#include "actors/pipeline/shared_region.hpp"

#include "supervision/descriptor.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE // Linux 6.1, glibc 2.37
#define MADV_COLLAPSE 25
#endif

namespace viva::actors {
namespace {

constexpr std::uint64_t up_to_large_pages(std::uint64_t bytes) {
  return (bytes + large_page_bytes - 1) / large_page_bytes * large_page_bytes;
}

// Asked for by name, because most systems grant shared memory none by itself (shmem_enabled). It
// needs one small page to begin with. Where it is refused, memory is of small pages.
void take_large_pages(std::byte* data, std::uint64_t bytes) {
  for (std::uint64_t at = 0; at + large_page_bytes <= bytes; at += large_page_bytes) {
    *const_cast<volatile std::byte*>(data + at) = std::byte{0};
    if (::madvise(data + at, large_page_bytes, MADV_COLLAPSE) != 0)
      return;
  }
}

} // namespace

file_map::file_map(int file, std::uint64_t bytes, int rights) : x_size(bytes) {
  void* at = nullptr;
  if (bytes >= large_page_bytes) {
    const auto room = bytes + large_page_bytes;
    at = ::mmap(nullptr, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
      return;
    const auto first = reinterpret_cast<std::uintptr_t>(at);
    const auto before = up_to_large_pages(first) - first;
    at = static_cast<std::byte*>(at) + before;
    if (before != 0)
      ::munmap(reinterpret_cast<void*>(first), before);
    const auto kept = (bytes + 4095) / 4096 * 4096; // munmap wants whole pages
    if (const auto behind = room - before; behind > kept)
      ::munmap(static_cast<std::byte*>(at) + kept, behind - kept);
  }
  auto* const made = ::mmap(at, bytes, rights, MAP_SHARED | (at != nullptr ? MAP_FIXED : 0), file,
                            0);
  if (made != MAP_FAILED) {
    x_data = static_cast<std::byte*>(made);
  } else if (at != nullptr) {
    const int why = errno;
    ::munmap(at, bytes);
    errno = why;
  }
}

file_map::~file_map() {
  if (x_data != nullptr)
    ::munmap(x_data, x_size);
}

// Sealed in its size, so that no lane can cut it short under those who read it.
expected<std::shared_ptr<shared_region>> shared_region::make(std::uint64_t bytes, bool large) {
  const auto refuse = [&](const char* doing) {
    return fail(errc::over_budget, "memory to share, " + std::to_string(bytes) + " bytes: "
                                     + doing + ": " + std::strerror(errno)
                                     + "; ask for less, or free some");
  };
  auto file = std::make_shared<const supervision::descriptor>(
    ::memfd_create("viva-tensors", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!*file)
    return refuse("no memory file");
  const auto whole = bytes < large_page_bytes ? bytes : up_to_large_pages(bytes);
  if (whole < bytes || whole == 0 || ::ftruncate(file->get(), static_cast<off_t>(whole)) != 0
      || ::fcntl(file->get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return refuse("no room");
  file_map map(file->get(), whole, PROT_READ | PROT_WRITE);
  if (map.data() == nullptr)
    return refuse("not mapped");
  if (large)
    take_large_pages(map.data(), whole);
  return std::shared_ptr<shared_region>(
    new shared_region(std::move(file), std::move(map), bytes));
}

expected<std::shared_ptr<shared_region>>
shared_region::of_file(const std::filesystem::path& name, std::span<const std::byte> mapped) {
  auto file = std::make_shared<const supervision::descriptor>(
    ::open(name.c_str(), O_RDONLY | O_CLOEXEC));
  if (!*file)
    return fail(errc::unreadable, name.string() + ": cannot be opened again ("
                                    + std::strerror(errno) + "); leave it where it is");
  return std::shared_ptr<shared_region>(new shared_region(std::move(file), mapped));
}

shared_region::~shared_region() {
  if (on_gone)
    on_gone();
}

} // namespace viva::actors
