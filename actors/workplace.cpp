#include "actors/workplace.hpp"

#include <cerrno>
#include <fcntl.h>
#include <set>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace viva::actors {
namespace fs = std::filesystem;

namespace {

tl::unexpected<error> failed(const std::string& doing, const fs::path& file, bool writing = true) {
  return tl::unexpected(system_error(doing, file, writing));
}

expected<void> write_text(disk& on, const fs::path& name, std::string_view text) {
  auto file = on.open(name, disk::mode::write_or_create);
  if (!file)
    return tl::unexpected(file.error());
  if (auto sized = (*file)->resize(text.size()); !sized)
    return sized;
  if (auto done = (*file)->write(0, std::as_bytes(std::span(text))); !done)
    return done;
  return (*file)->sync();
}

expected<void> copy_durably(const fs::path& from, const fs::path& to) {
  std::error_code why;
  fs::create_directories(to.parent_path(), why);
  if (!fs::copy_file(from, to, fs::copy_options::overwrite_existing, why)) {
    errno = why.value();
    return failed("copy " + from.string() + " here", to);
  }
  const descriptor fd{::open(to.c_str(), O_RDONLY | O_CLOEXEC)};
  if (fd.get() < 0 || ::fsync(fd.get()) != 0)
    return failed("sync", to);
  return {};
}

/// Every path the plan puts into its folder, relative to it, and the folders on the way.
std::set<fs::path> names_in(const formats::out_checkpoint& output) {
  std::set<fs::path> names;
  const auto add = [&](fs::path name) {
    for (name = name.lexically_normal(); !name.empty(); name = name.parent_path())
      names.insert(name);
  };
  for (const auto& file : output.files)
    add(file.name);
  for (const auto& text : output.texts)
    add(text.name);
  for (const auto& copy : output.copies)
    add(copy);
  return names;
}

/// Removes what an earlier run or somebody else left in the partial output: it would be published.
expected<void> remove_strangers(const fs::path& partial, const std::set<fs::path>& ours) {
  std::error_code why;
  std::vector<fs::path> strangers;
  for (fs::recursive_directory_iterator entry(partial, why), end; !why && entry != end;
       entry.increment(why))
    if (!ours.contains(entry->path().lexically_relative(partial))) {
      strangers.push_back(entry->path());
      entry.disable_recursion_pending();
    }
  for (const auto& stranger : strangers)
    if (!why)
      fs::remove_all(stranger, why);
  if (!why)
    return {};
  errno = why.value();
  return failed("tidy up", partial);
}

/// Syncs a folder and every folder below it.
expected<void> sync_tree(disk& on, const fs::path& folder) {
  std::error_code why;
  for (fs::recursive_directory_iterator entry(folder, why), end; !why && entry != end;
       entry.increment(why))
    if (entry->is_directory(why) && !entry->is_symlink(why))
      if (auto done = on.sync_folder(entry->path()); !done)
        return done;
  if (why) {
    errno = why.value();
    return failed("look into", folder);
  }
  return on.sync_folder(folder);
}

} // namespace

expected<mapped_file> mapped_file::open(const fs::path& file) {
  const descriptor fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info {};
  if (fd.get() < 0 || ::fstat(fd.get(), &info) != 0)
    return failed("open", file, false);
  const auto bytes = static_cast<std::size_t>(info.st_size);
  if (bytes == 0)
    return mapped_file{nullptr, 0};
  void* data = ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED)
    return failed("map", file, false);
  ::madvise(data, bytes, MADV_SEQUENTIAL);
  return mapped_file{static_cast<const std::byte*>(data), bytes};
}

mapped_file::~mapped_file() {
  if (x_data != nullptr)
    ::munmap(const_cast<std::byte*>(x_data), x_bytes);
}

fs::path partial_path(const fs::path& output) {
  return output.string() + ".partial";
}

fs::path journal_path(const fs::path& output) {
  return output.string() + ".journal";
}

file_state state_of(const fs::path& file) noexcept {
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0)
    return {};
  return {info.st_dev, info.st_ino, static_cast<std::uint64_t>(info.st_size),
          info.st_ctim.tv_sec * 1'000'000'000 + info.st_ctim.tv_nsec};
}

expected<void> workplace::map_sources(const plan& p) {
  for (std::size_t i = 0; i < p.sources.size(); ++i) {
    auto mapped = mapped_file::open(p.sources[i]);
    if (!mapped)
      return tl::unexpected(mapped.error());
    if (mapped->bytes().size() != p.source_file_bytes[i]) // before this, offsets were checked
      return fail(errc::malformed, p.sources[i].string()
                                     + ": changed its size while the job was planned; run it "
                                       "again");
    x_sources.push_back(std::move(*mapped));
    x_states.push_back(state_of(p.sources[i]));
    x_source_names.push_back(p.sources[i]);
  }
  return {};
}

expected<workplace> workplace::join(const plan& p, const fs::path& output,
                                    file_identity partial_was,
                                    std::atomic<std::uint64_t>& steps, lease_ptr right) {
  workplace result;
  result.x_right = std::move(right);
  result.x_disk = &real_disk();
  if (auto mapped = result.map_sources(p); !mapped)
    return tl::unexpected(mapped.error());
  result.x_output = output;
  result.x_partial = partial_was;
  result.x_steps = &steps;
  if (!p.writes())
    return result;
  if (result.x_right && !result.x_right->holds()) // these names may stand for something else by now
    throw lease_over();
  if (auto same = result.check_partial(); !same)
    return tl::unexpected(same.error());
  const auto partial = partial_path(output);
  for (const auto& file : p.output.files) {
    const auto name = p.output.folder ? partial / file.name : partial;
    auto opened = result.x_disk->open(name, disk::mode::write);
    if (!opened)
      return tl::unexpected(opened.error());
    result.x_outputs.push_back(std::move(*opened));
  }
  return result;
}

expected<workplace> workplace::revisit(const plan& p, const fs::path& output,
                                       const naming_record& named, disk& on) {
  workplace result;
  result.x_disk = &on;
  if (auto mapped = result.map_sources(p); !mapped)
    return tl::unexpected(mapped.error());
  result.x_output = output;
  result.x_partial = {named.device, named.inode};
  result.x_named = named;
  for (const auto& file : p.output.files) {
    auto opened = on.open(p.output.folder ? output / file.name : output, disk::mode::read);
    if (!opened)
      return tl::unexpected(opened.error());
    result.x_outputs.push_back(std::move(*opened));
  }
  return result;
}

expected<workplace> workplace::open(const plan& p, const fs::path& output,
                                    const std::atomic<bool>* interrupted, disk& on) {
  workplace result;
  result.x_disk = &on;
  if (auto mapped = result.map_sources(p); !mapped)
    return tl::unexpected(mapped.error());
  result.x_output = output;
  if (p.writes())
    if (auto made = result.make_partial(p, interrupted); !made)
      return tl::unexpected(made.error());
  return result;
}

expected<void> workplace::make_file(const formats::out_file& file, const fs::path& name) {
  auto opened = x_disk->open(name, disk::mode::write_or_create);
  if (!opened)
    return tl::unexpected(opened.error());
  // Reserving the blocks now turns a disk that will be full into an error before any work.
  if (auto sized = (*opened)->resize(file.bytes); !sized)
    return sized;
  if (auto there = (*opened)->reserve(file.bytes); !there)
    return there;
  x_outputs.push_back(std::move(*opened));
  const auto index = static_cast<std::uint32_t>(x_outputs.size() - 1);
  if (auto done = write({index, 0}, std::as_bytes(std::span(file.header))); !done)
    return done;
  for (const auto& tensor : file.tensors)
    if (tensor.what == formats::out_tensor::kind::constant)
      if (auto done = write({index, tensor.entry.begin}, std::as_bytes(std::span(tensor.bytes)));
          !done)
        return done;
  return {};
}

expected<void> workplace::make_partial(const plan& p, const std::atomic<bool>* interrupted) {
  x_folder = p.output.folder;
  const auto partial = partial_path(x_output);
  std::error_code why;
  if (x_folder && !fs::create_directories(partial, why) && why) {
    errno = why.value();
    return failed("create", partial);
  }
  if (x_folder)
    if (auto clean = remove_strangers(partial, names_in(p.output)); !clean)
      return clean;
  for (const auto& file : p.output.files)
    if (auto made = make_file(file, x_folder ? partial / file.name : partial); !made)
      return made;
  for (const auto& text : p.output.texts)
    if (auto done = write_text(*x_disk, partial / text.name, text.text); !done)
      return done;
  for (const auto& copy : p.output.copies) {
    if (interrupted != nullptr && interrupted->load())
      return fail(errc::interrupted, "interrupted; run the same command again to resume");
    if (auto done = copy_durably(p.source_root / copy, partial / copy); !done)
      return done;
  }
  x_partial = x_disk->identity(partial);
  // No shard may be called durable in a file whose name a power cut would take away.
  if (x_folder)
    if (auto done = sync_tree(*x_disk, partial); !done)
      return done;
  return x_disk->sync_folder(x_output.parent_path());
}

expected<void> workplace::check_read(std::uint32_t file) const {
  if (x_sources[file].struck())
    return fail(errc::unreadable, x_source_names[file].string()
                                    + ": was cut short, or its disk failed, while the job read it; "
                                      "restore it");
  return {};
}

/// Written after each look at the lease.
constexpr std::size_t leased_write = std::size_t{1} << 20;

expected<void> workplace::write(placement where, std::span<const std::byte> bytes) const {
  if (x_steps != nullptr)
    x_steps->fetch_add(1, std::memory_order_relaxed);
  if (!x_right)
    return x_outputs[where.file]->write(where.offset, bytes);
  for (std::size_t at = 0; at < bytes.size(); at += leased_write) {
    if (!x_right->holds())
      throw lease_over();
    const auto some = bytes.subspan(at, std::min(leased_write, bytes.size() - at));
    if (auto done = x_outputs[where.file]->write(where.offset + at, some); !done)
      return done;
  }
  return {};
}

expected<void> workplace::read_back(placement where, std::span<std::byte> bytes) const {
  return x_outputs[where.file]->read(where.offset, bytes);
}

expected<void> workplace::sync() const {
  for (const auto& output : x_outputs)
    if (auto done = output->sync(); !done)
      return done;
  return {};
}

expected<void> workplace::check_sources() const {
  for (std::size_t i = 0; i < x_states.size(); ++i)
    if (state_of(x_source_names[i]) != x_states[i])
      return fail(errc::malformed, x_source_names[i].string()
                                     + ": changed while the job ran, so its output may mix two "
                                       "states of it; run the job again");
  return {};
}

expected<void> workplace::check_partial() const {
  if (x_disk->identity(partial_path(x_output)) != x_partial)
    return fail(errc::cannot_write, partial_path(x_output).string()
                                      + ": was moved or replaced while the job ran; run it again");
  return {};
}

expected<naming_record> workplace::finish(bool overwrite) const {
  for (const auto& good : {check_sources(), check_partial()})
    if (!good)
      return tl::unexpected(good.error());
  if (auto done = sync(); !done)
    return tl::unexpected(done.error());
  if (x_folder)
    if (auto done = sync_tree(*x_disk, partial_path(x_output)); !done)
      return tl::unexpected(done.error());
  return naming_record{x_partial.device, x_partial.inode,
                       overwrite && x_disk->identity(x_output) != file_identity{}};
}

// Without --overwrite the rename refuses to replace what appeared meanwhile; with it the two names
// are exchanged in one step and only then is the old output removed.
expected<void> workplace::give_name(const naming_record& how) const {
  if (!x_named)
    if (auto done = x_disk->rename(partial_path(x_output), x_output, how.replaces); !done)
      return done;
  return x_disk->sync_folder(x_output.parent_path());
}

void workplace::remove_replaced(const naming_record& how) const {
  if (how.replaces)
    x_disk->remove_all(partial_path(x_output));
}

void workplace::remove_journal() const {
  x_disk->remove_all(journal_path(x_output));
}

} // namespace viva::actors
