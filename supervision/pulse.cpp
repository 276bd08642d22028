#include "supervision/pulse.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>

namespace viva::supervision {
namespace {

pulse_page* map(int fd) noexcept {
  void* at = ::mmap(nullptr, sizeof(pulse_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  return at == MAP_FAILED ? nullptr : static_cast<pulse_page*>(at);
}

} // namespace

std::optional<pulse> pulse::make() {
  descriptor memory{::memfd_create("viva-pulse", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!memory || ::ftruncate(memory.get(), sizeof(pulse_page)) != 0)
    return std::nullopt;
  // A ward that shortened it would have its guardian die of SIGBUS.
  if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return std::nullopt;
  auto* page = map(memory.get());
  if (page == nullptr)
    return std::nullopt;
  new (page) pulse_page;
  return pulse{std::move(memory), page};
}

std::optional<pulse> pulse::join(descriptor memory) {
  struct stat info {};
  if (::fstat(memory.get(), &info) != 0 || info.st_size != sizeof(pulse_page))
    return std::nullopt;
  auto* page = map(memory.get());
  if (page == nullptr)
    return std::nullopt;
  return pulse{std::move(memory), page};
}

pulse::~pulse() {
  if (x_page != nullptr)
    ::munmap(x_page, sizeof(pulse_page));
}

void pulse::say(std::string_view text) noexcept {
  const auto bytes = std::min(text.size(), sizeof x_page->words - 1);
  std::memcpy(x_page->words, text.data(), bytes);
  x_page->words[bytes] = '\0';
}

std::string pulse::words() const {
  std::string text{x_page->words, ::strnlen(x_page->words, sizeof x_page->words)};
  std::ranges::replace_if(text, [](char c) { return c < ' ' || c > '~'; }, '?');
  return text;
}

} // namespace viva::supervision
