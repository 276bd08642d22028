#include "actors/node/bulk_jobs.hpp"

#include "actors/node/bulk_files.hpp"

#include <limits>
#include <utility>

namespace viva::actors::node {
namespace {

std::string name_of(const range& where) {
  return "file " + std::to_string(where.file) + " of the job";
}

} // namespace

bulk_job::bulk_job(const job_key& key, std::vector<shared_file> files, file_source any)
    : x_key(key), x_files(std::move(files)), x_readable(x_files.size()),
      x_writable(x_files.size()), x_any(std::move(any)) {
}

void bulk_job::allow(access how, const range& what) {
  constexpr std::uint64_t end_max = std::numeric_limits<std::int64_t>::max();
  const std::lock_guard alone(x_mutex);
  if (what.file < x_files.size() && what.offset <= end_max && what.bytes <= end_max - what.offset)
    sets(how)[what.file].add(what.offset, what.bytes);
}

void bulk_job::withdraw(access how, const range& what) {
  const std::lock_guard alone(x_mutex);
  if (what.file < x_files.size())
    sets(how)[what.file].remove(
      what.offset, std::min(what.bytes, std::numeric_limits<std::uint64_t>::max() - what.offset));
}

void bulk_job::close() {
  const std::lock_guard alone(x_mutex);
  x_files.clear();
  x_readable.clear();
  x_writable.clear();
  x_any = nullptr;
}

expected<shared_file> bulk_job::open(access how, const range& where) const {
  if (x_any)
    return x_any(how, where);
  const auto& ranges = how == access::read ? x_readable : x_writable;
  if (where.file >= ranges.size() || !ranges[where.file].holds(where.offset, where.bytes))
    return fail(how == access::read ? errc::unreadable : errc::cannot_write,
                name_of(where) + ": bytes " + std::to_string(where.offset) + " to "
                  + std::to_string(where.offset + where.bytes) + " are not open for "
                  + (how == access::read ? "reading" : "writing") + " now");
  return x_files[where.file];
}

expected<void> bulk_job::write(const range& where, std::span<const std::byte> bytes) {
  const std::shared_lock together(x_mutex);
  const auto file = open(access::write, where);
  if (!file)
    return tl::make_unexpected(file.error());
  return write_at(**file, where.offset, bytes, name_of(where));
}

expected<void> bulk_job::read(const range& where, std::span<std::byte> into) {
  const std::shared_lock together(x_mutex);
  const auto file = open(access::read, where);
  if (!file)
    return tl::make_unexpected(file.error());
  return read_at(**file, where.offset, into, name_of(where));
}

void bulk_jobs::open(const job_key& key, std::vector<shared_file> files, file_source any) {
  auto made = std::make_shared<bulk_job>(key, std::move(files), std::move(any));
  const std::lock_guard hold(x_mutex);
  x_all[key] = std::move(made);
}

std::shared_ptr<bulk_job> bulk_jobs::find(const job_key& key) const {
  const std::lock_guard hold(x_mutex);
  const auto found = x_all.find(key);
  return found == x_all.end() ? nullptr : found->second;
}

std::shared_ptr<bulk_job> bulk_jobs::remove(const job_key& key) {
  const std::lock_guard hold(x_mutex);
  const auto found = x_all.find(key);
  if (found == x_all.end())
    return nullptr;
  auto gone = std::move(found->second);
  x_all.erase(found);
  return gone;
}

} // namespace viva::actors::node
