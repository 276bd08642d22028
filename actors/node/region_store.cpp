#include "actors/node/region_store.hpp"

#include <cerrno>
#include <cstring>

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace viva::actors::node {
namespace {

constexpr std::uint64_t block_bytes = 512; // of st_blocks

struct stat look_at(const shared_file& file) {
  struct stat info {};
  ::fstat(file->get(), &info);
  return info;
}

tl::unexpected<error> no_memory(const char* doing) {
  return fail(errc::over_budget,
              std::string("memory for a region of tensors: ") + doing + ": "
                + std::strerror(errno));
}

} // namespace

region_store::~region_store() {
  for (const auto& [id, each] : x_regions)
    *x_used -= each.counted;
}

expected<region_store::region*> region_store::find(std::uint32_t which) {
  auto& found = x_regions[which];
  if (!found.file) {
    auto made = std::make_shared<const supervision::descriptor>(
      ::memfd_create("viva-region", MFD_CLOEXEC));
    if (!*made) {
      x_regions.erase(which);
      return no_memory("no memory file");
    }
    found.file = std::move(made);
  }
  return &found;
}

void region_store::count(region& what) {
  const auto now = static_cast<std::uint64_t>(look_at(what.file).st_blocks) * block_bytes;
  *x_used += now - what.counted; // modulo 2^64, so less is subtracted
  what.counted = now;
}

expected<void> region_store::check() const {
  if (*x_used <= x_bytes_max)
    return {};
  return fail(errc::over_budget, "tensors of pipelines take more than this node's "
                                   + std::to_string(x_bytes_max)
                                   + " bytes; give it more (--max-memory), or bring it less");
}

expected<shared_file> region_store::touch(access how, const range& where) {
  const std::lock_guard lock{x_guard};
  if (how == access::read && !x_regions.contains(where.file))
    return fail(errc::malformed, "region " + std::to_string(where.file) + " is not here");
  const auto found = find(where.file);
  if (!found)
    return tl::unexpected(found.error());
  if (how == access::write) { // what came before; this one is a MiB at most
    count(**found);
    if (auto fine = check(); !fine)
      return tl::unexpected(fine.error());
  }
  return (*found)->file;
}

expected<shared_file> region_store::open(std::uint32_t which, std::uint64_t bytes) {
  const std::lock_guard lock{x_guard};
  const auto found = find(which);
  if (!found)
    return tl::unexpected(found.error());
  const auto& file = (*found)->file;
  if (static_cast<std::uint64_t>(look_at(file).st_size) < bytes
      && ::ftruncate(file->get(), static_cast<off_t>(bytes)) != 0)
    return no_memory("not so long");
  return file;
}

void region_store::forget(std::uint32_t which) {
  const std::lock_guard lock{x_guard};
  if (const auto found = x_regions.find(which); found != x_regions.end()) {
    *x_used -= found->second.counted;
    x_regions.erase(found);
  }
}

expected<void> region_store::weigh() {
  const std::lock_guard lock{x_guard};
  for (auto& [id, each] : x_regions)
    count(each);
  return check();
}

} // namespace viva::actors::node
