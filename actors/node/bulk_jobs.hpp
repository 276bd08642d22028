#pragma once

// Bulk jobs: the tables of a bulk server, and every touch of their files. A touch holds its job's
// lock shared, whoever takes a range away holds it alone: afterwards nothing is under way there.

#include "actors/node/bulk.hpp"
#include "actors/node/range_set.hpp"

#include <map>
#include <mutex>
#include <shared_mutex>
#include <span>

namespace viva::actors::node {

class bulk_job {
public:
  bulk_job(const job_key& key, std::vector<shared_file> files, file_source any = nullptr);

  const job_key& key() const noexcept {
    return x_key;
  }
  void allow(access how, const range& what);
  void withdraw(access how, const range& what);
  void close();

  /// Fails where the range is not allowed, or the file does.
  expected<void> write(const range& where, std::span<const std::byte> bytes);
  expected<void> read(const range& where, std::span<std::byte> into);

private:
  expected<shared_file> open(access how, const range& where) const;
  std::vector<range_set>& sets(access how) {
    return how == access::read ? x_readable : x_writable;
  }

  const job_key x_key;
  std::shared_mutex x_mutex;
  std::vector<shared_file> x_files;
  std::vector<range_set> x_readable, x_writable; // by file
  file_source x_any;
};

class bulk_jobs {
public:
  void open(const job_key& key, std::vector<shared_file> files, file_source any = nullptr);
  std::shared_ptr<bulk_job> find(const job_key& key) const;
  /// The one that was there.
  std::shared_ptr<bulk_job> remove(const job_key& key);

private:
  mutable std::mutex x_mutex;
  std::map<job_key, std::shared_ptr<bulk_job>> x_all;
};

} // namespace viva::actors::node
