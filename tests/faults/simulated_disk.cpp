#include "tests/faults/simulated_disk.hpp"

#include <algorithm>
#include <cstring>

namespace viva::faults {

namespace fs = std::filesystem;
using actors::file_identity;

namespace {

constexpr std::size_t sector_bytes = 512; // what a device writes whole or not at all

} // namespace

class simulated_file final : public actors::open_file {
public:
  simulated_file(simulated_disk& on, std::uint64_t number, std::string name)
      : x_on(on), x_number(number), x_name(std::move(name)) {
  }
  expected<void> write(std::uint64_t at, std::span<const std::byte> bytes) override {
    x_on.call();
    if (x_on.at_lane && x_on.lane_writes_left != simulated_disk::never
        && x_on.lane_writes_left-- == 0)
      throw lane_died{};
    auto& file = node();
    const auto end = at + bytes.size();
    if (x_on.full && end > std::max<std::uint64_t>(file.reserved, file.seen.size()))
      return fail(errc::disk_full, x_name + ": cannot write: no space left");
    if (x_on.at_lane && x_on.on_lane_write)
      x_on.on_lane_write(at, bytes.size());
    simulated_disk::change what{at, {reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                                false};
    simulated_disk::apply(file.seen, what, what.bytes.size());
    file.pending.push_back(std::move(what));
    return {};
  }
  expected<void> read(std::uint64_t at, std::span<std::byte> bytes) override {
    x_on.call();
    const auto& seen = node().seen;
    if (at + bytes.size() > seen.size())
      return fail(errc::unreadable, x_name + ": ends before what should be read there");
    std::memcpy(bytes.data(), seen.data() + at, bytes.size());
    return {};
  }
  expected<std::uint64_t> size() override {
    return node().seen.size();
  }
  expected<void> resize(std::uint64_t bytes) override {
    x_on.call();
    auto& file = node();
    if (file.seen.size() == bytes)
      return {};
    const simulated_disk::change what{bytes, {}, true};
    simulated_disk::apply(file.seen, what, 0);
    file.pending.push_back(what);
    return {};
  }
  expected<void> reserve(std::uint64_t bytes) override {
    x_on.call();
    auto& file = node();
    if (x_on.full && bytes > std::max<std::uint64_t>(file.reserved, file.seen.size()))
      return fail(errc::disk_full, x_name + ": cannot reserve: no space left");
    file.reserved = std::max(file.reserved, bytes);
    return {};
  }
  expected<void> sync() override {
    x_on.call();
    auto& file = node();
    if (x_on.x_syncs++ == x_on.fail_sync_at) {
      // Pages are clean now, says the system; what a reader sees is not what is there. Sizes are
      // the file system's own affair and stay in its log.
      std::erase_if(file.pending, [](const auto& what) { return !what.sizes; });
      return fail(errc::cannot_write, x_name + ": cannot sync: input/output error");
    }
    for (const auto& what : file.pending)
      simulated_disk::apply(file.synced, what, what.bytes.size());
    file.pending.clear();
    x_on.call();
    return {};
  }

private:
  simulated_disk::inode& node() {
    return x_on.x_inodes.at(x_number);
  }
  simulated_disk& x_on;
  std::uint64_t x_number;
  std::string x_name;
};

void simulated_disk::call() {
  if (++x_calls >= kill_at)
    throw process_killed{};
}

/// The first `bytes` of a change.
void simulated_disk::apply(std::string& to, const change& what, std::size_t bytes) {
  if (what.sizes) {
    to.resize(what.at);
    return;
  }
  if (to.size() < what.at + bytes)
    to.resize(what.at + bytes);
  to.replace(what.at, bytes, what.bytes, 0, bytes);
}

void simulated_disk::crash(bool power, random_source& random) {
  const auto chance = [&](std::uint64_t of) { return random() % of; };
  if (!power)
    return; // the system lives, and with it every write
  for (auto& [number, file] : x_inodes) {
    for (const auto& what : file.pending) {
      if (what.sizes) {
        if (chance(2) == 0)
          apply(file.synced, what, 0);
        continue;
      }
      for (std::size_t at = 0; at < what.bytes.size();) { // each sector for itself
        const auto bytes = std::min(sector_bytes - (what.at + at) % sector_bytes,
                                    what.bytes.size() - at);
        if (chance(3) != 0)
          apply(file.synced, {what.at + at, what.bytes.substr(at, bytes), false}, bytes);
        at += bytes;
      }
    }
    file.pending.clear();
    file.seen = file.synced;
    file.reserved = std::min<std::uint64_t>(file.reserved, file.seen.size());
  }
  if (const auto kept = chance(x_names_pending.size() + 1); kept > 0)
    x_names_synced = x_names_pending[kept - 1];
  x_names_pending.clear();
  x_names = x_names_synced;
}

const std::string* simulated_disk::look(const fs::path& name) const {
  const auto found = x_names.find(name.string());
  return found == x_names.end() ? nullptr : &x_inodes.at(found->second).seen;
}

void simulated_disk::flip(const fs::path& name, std::uint64_t at, unsigned char bits) {
  auto& file = x_inodes.at(x_names.at(name.string()));
  for (auto* bytes : {&file.seen, &file.synced})
    if (at < bytes->size())
      (*bytes)[at] = static_cast<char>((*bytes)[at] ^ bits);
}

bool simulated_disk::durable(const fs::path& name) const {
  const auto now = x_names.find(name.string()), kept = x_names_synced.find(name.string());
  if (now == x_names.end() || kept == x_names_synced.end() || now->second != kept->second)
    return false;
  const auto& file = x_inodes.at(now->second);
  return file.pending.empty() && file.seen == file.synced;
}

void simulated_disk::cut(const fs::path& name, std::uint64_t bytes) {
  auto& file = x_inodes.at(x_names.at(name.string()));
  file.seen.resize(bytes);
  file.synced = file.seen;
}

void simulated_disk::names_changed() {
  x_names_pending.push_back(x_names);
}

expected<std::unique_ptr<actors::open_file>> simulated_disk::open(const fs::path& file, mode how) {
  call();
  const auto found = x_names.find(file.string());
  if (found != x_names.end())
    return std::make_unique<simulated_file>(*this, found->second, file.string());
  if (how != mode::write_or_create)
    return fail(how == mode::read ? errc::unreadable : errc::cannot_write,
                file.string() + ": cannot open: no such file");
  const auto number = x_next_inode++;
  x_inodes[number];
  x_names[file.string()] = number;
  names_changed();
  return std::make_unique<simulated_file>(*this, number, file.string());
}

file_identity simulated_disk::identity(const fs::path& name) {
  const auto found = x_names.find(name.string());
  return found == x_names.end() ? file_identity{} : file_identity{1, found->second};
}

expected<void> simulated_disk::rename(const fs::path& from, const fs::path& to, bool exchange) {
  call();
  const auto source = x_names.find(from.string());
  if (source == x_names.end() || x_names.contains(to.string()) != exchange)
    return fail(errc::cannot_write, to.string() + ": cannot give the output its name");
  const auto number = source->second;
  if (exchange)
    source->second = x_names[to.string()];
  else
    x_names.erase(source);
  x_names[to.string()] = number;
  names_changed();
  call();
  return {};
}

expected<void> simulated_disk::sync_folder(const fs::path& folder) {
  call();
  if (x_folder_syncs++ == fail_folder_sync_at) {
    ++x_folder_syncs_failed;
    return fail(errc::cannot_write, folder.string() + ": cannot sync: input/output error");
  }
  x_names_synced = x_names;
  x_names_pending.clear();
  call();
  return {};
}

void simulated_disk::remove_all(const fs::path& name) {
  call();
  if (x_names.erase(name.string()) > 0)
    names_changed();
}

} // namespace viva::faults
