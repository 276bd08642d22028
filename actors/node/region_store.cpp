#include "actors/node/region_store.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/mman.h>
#include <sys/resource.h>
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

std::uint64_t descriptors() {
  rlimit files{};
  return ::getrlimit(RLIMIT_NOFILE, &files) == 0 ? files.rlim_cur : 1024;
}

tl::unexpected<error> no_memory(const char* doing) {
  return fail(errc::over_budget,
              std::string("memory for a region of tensors: ") + doing + ": "
                + std::strerror(errno));
}

} // namespace

region_store::region_store(std::uint64_t bytes_max, std::shared_ptr<region_use> used)
    : x_bytes_max(bytes_max), x_regions_max(descriptors() / 2), x_used(std::move(used)) {
}

region_store::~region_store() {
  for (const auto& [id, each] : x_regions)
    x_used->bytes -= each.counted;
  x_used->regions -= x_regions.size();
}

expected<region_store::region*> region_store::find(std::uint32_t which) {
  if (const auto known = x_regions.find(which); known != x_regions.end())
    return &known->second;
  if (x_used->regions >= x_regions_max)
    return fail(errc::over_budget, "pipelines have " + std::to_string(x_regions_max)
                                     + " tensors here, half of this node's descriptors; let it "
                                       "have more (ulimit -n), or drop some");
  auto made = std::make_shared<const supervision::descriptor>(
    ::memfd_create("viva-region", MFD_CLOEXEC));
  if (!*made)
    return no_memory("no memory file");
  ++x_used->regions;
  return &x_regions.emplace(which, region{std::move(made), 0}).first->second;
}

bool region_store::count(region& what) {
  const auto now = static_cast<std::uint64_t>(look_at(what.file).st_blocks) * block_bytes;
  x_used->bytes += now - what.counted; // modulo 2^64, so less is subtracted
  return now > std::exchange(what.counted, now);
}

expected<void> region_store::check(bool grown) {
  const bool over = x_used->bytes > x_bytes_max;
  x_refused = over && (grown || x_refused);
  if (!x_refused)
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
    if (auto fine = check(count(**found)); !fine)
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
    x_used->bytes -= found->second.counted;
    --x_used->regions;
    x_regions.erase(found);
  }
}

expected<void> region_store::weigh() {
  const std::lock_guard lock{x_guard};
  bool grown = false;
  for (auto& [id, each] : x_regions)
    grown |= count(each);
  return check(grown);
}

} // namespace viva::actors::node
