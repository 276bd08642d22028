#pragma once

// Workplace: the open files of one job. Sources are mapped read-only; outputs grow under a name
// that ends in .partial and get their final name only when every byte is durable.
//
//   OUT.partial   the output, file or folder        OUT.journal   what of it is durable
//
// Lanes call `source` and `write` from any thread at once; the rest is for one thread.

#include "actors/disk.hpp"
#include "actors/journal_record.hpp"
#include "actors/lease.hpp"
#include "actors/plan.hpp"
#include "actors/source_guard.hpp"

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace viva::actors {

/// What tells one state of a file from another without reading it.
struct file_state {
  std::uint64_t device = 0, inode = 0, bytes = 0;
  std::int64_t changed_ns = 0; ///< ctime, which no program can set.
  friend bool operator==(const file_state&, const file_state&) = default;
};

/// Of what a name leads to; all zero where it leads nowhere.
file_state state_of(const std::filesystem::path& file) noexcept;

/// Maps a whole file read-only.
class mapped_file {
public:
  static expected<mapped_file> open(const std::filesystem::path& file);
  mapped_file(mapped_file&& other) noexcept
    : x_data(std::exchange(other.x_data, nullptr)), x_bytes(other.x_bytes),
      x_guard(std::move(other.x_guard)) {
  }
  mapped_file& operator=(mapped_file&&) = delete;
  ~mapped_file();
  std::span<const std::byte> bytes() const noexcept {
    return {x_data, x_bytes};
  }
  /// True once bytes of it could not be read and were zeros instead.
  bool struck() const noexcept {
    return x_guard.struck();
  }

private:
  mapped_file(const std::byte* data, std::size_t bytes)
    : x_data(data), x_bytes(bytes), x_guard({data, bytes}) {
  }
  const std::byte* x_data;
  std::size_t x_bytes;
  source_guard x_guard;
};

std::filesystem::path partial_path(const std::filesystem::path& output);
std::filesystem::path journal_path(const std::filesystem::path& output);

class workplace {
public:
  /// Maps the sources and, where the plan writes, makes or reopens the partial output: space is
  /// reserved, headers, constants and small files are written.
  /// `interrupted` may be null; it ends the copying of large small files.
  static expected<workplace> open(const plan& p, const std::filesystem::path& output,
                                  const std::atomic<bool>* interrupted,
                                  disk& on = real_disk());

  /// The same place for a lane process, whose guardian opened it already: sources are mapped,
  /// outputs are found and written in place, nothing is made. Counts every write in `steps`.
  /// `partial` is the guardian's `partial_identity`. `right`: until when it may be written; null:
  /// always. Throws `lease_over`, before it opens what is written.
  static expected<workplace> join(const plan& p, const std::filesystem::path& output,
                                  file_identity partial, std::atomic<std::uint64_t>& steps,
                                  lease_ptr right = nullptr);
  /// The same place where an earlier life gave the output its name already: sources are mapped, the
  /// output is read, nothing is made or written.
  static expected<workplace> revisit(const plan& p, const std::filesystem::path& output,
                                     const naming_record& named, disk& on = real_disk());
  /// Device and inode of OUT.partial; zeros where the plan writes nothing.
  file_identity partial_identity() const noexcept {
    return x_partial;
  }

  std::span<const std::byte> source(std::uint32_t file) const noexcept {
    return x_sources[file].bytes();
  }
  /// Fails where bytes of a source could not be read since it was opened: what was made of them is
  /// worth nothing.
  expected<void> check_read(std::uint32_t file) const;
  /// Throws `lease_over`.
  expected<void> write(placement where, std::span<const std::byte> bytes) const;
  expected<void> read_back(placement where, std::span<std::byte> bytes) const;

  /// Makes every byte written so far durable.
  expected<void> sync() const;

  const lease_ptr& right() const noexcept {
    return x_right;
  }
  /// From now on nothing is written once `right` is over.
  void write_while(lease_ptr right) noexcept {
    x_right = std::move(right);
  }

  const std::filesystem::path& output() const noexcept {
    return x_output;
  }
  /// Set where the output was found under its name.
  const std::optional<naming_record>& named() const noexcept {
    return x_named;
  }
  /// Makes everything durable under its partial name; `sync` must have succeeded after the last
  /// write. Refuses where a source file changed while the job ran, or OUT.partial is not the one it
  /// wrote. What it returns is for the journal, before `give_name`.
  expected<naming_record> finish(bool overwrite) const;
  /// OUT.partial becomes OUT, in one step; durable when it returns.
  expected<void> give_name(const naming_record& how) const;
  /// Removes the output that was replaced, then the journal. Again, if need be.
  void remove_replaced(const naming_record& how) const;
  void remove_journal() const;

private:
  expected<void> map_sources(const plan& p);
  expected<void> make_partial(const plan& p, const std::atomic<bool>* interrupted);
  expected<void> make_file(const formats::out_file& file, const std::filesystem::path& name);
  expected<void> check_sources() const;
  expected<void> check_partial() const;

  std::vector<mapped_file> x_sources;
  std::vector<file_state> x_states; ///< Of the sources, as they were mapped.
  std::vector<std::filesystem::path> x_source_names;
  disk* x_disk = nullptr;
  file_identity x_partial;
  std::vector<std::unique_ptr<open_file>> x_outputs;
  std::filesystem::path x_output;
  bool x_folder = false;
  std::optional<naming_record> x_named;
  std::atomic<std::uint64_t>* x_steps = nullptr;
  lease_ptr x_right;
};

} // namespace viva::actors
