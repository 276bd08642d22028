#pragma once

// Simulated disk: a file system in memory that keeps what a real one promises and nothing more.
//
//   what is written is seen at once, and survives the process;
//   what is synced survives the power, and only that: of the rest any part may be lost or torn;
//   names survive the power in the order they were given, up to some moment after the last sync;
//   a sync that failed has lost what it was asked for, and the next one succeeds; one of the folder
//   has made no name durable, and lost none.
//
// Faults are set before the calls that they strike. One thread.

#include "actors/disk.hpp"

#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace viva::faults {

using random_source = std::mt19937_64;

struct process_killed {};
struct lane_died {};

class simulated_disk final : public actors::disk {
public:
  static constexpr std::uint64_t never = ~0ull;
  std::uint64_t kill_at = never;      ///< The call at which the process dies.
  std::uint64_t fail_sync_at = never; ///< The sync of a file that fails.
  std::uint64_t fail_folder_sync_at = never; ///< The sync of the folder that fails.
  std::uint64_t lane_writes_left = never; ///< Of a lane that is to die.
  bool full = false;                  ///< No new blocks.
  bool at_lane = false;               ///< The calls are those of a lane.
  /// Sees every write of a lane; for learning where shards lie.
  std::function<void(std::uint64_t at, std::uint64_t bytes)> on_lane_write;

  std::uint64_t calls() const noexcept {
    return x_calls;
  }
  std::uint64_t syncs() const noexcept { ///< Of files.
    return x_syncs;
  }
  std::uint64_t folder_syncs() const noexcept {
    return x_folder_syncs;
  }
  std::uint64_t folder_syncs_failed() const noexcept {
    return x_folder_syncs_failed;
  }
  /// The process is gone; open files are, too. With `power` what was not synced may be.
  void crash(bool power, random_source& random);

  /// The bytes under a name, as a reader sees them now; nullptr where there is none.
  const std::string* look(const std::filesystem::path& name) const;
  /// Changes what is on the disk, behind the back of everybody.
  void flip(const std::filesystem::path& name, std::uint64_t at, unsigned char bits);
  void cut(const std::filesystem::path& name, std::uint64_t bytes);
  /// True where a power cut now would take nothing of the file and its name away.
  bool durable(const std::filesystem::path& name) const;

  expected<std::unique_ptr<actors::open_file>> open(const std::filesystem::path& file,
                                                    mode how) override;
  actors::file_identity identity(const std::filesystem::path& name) override;
  expected<void> rename(const std::filesystem::path& from, const std::filesystem::path& to,
                        bool exchange) override;
  expected<void> sync_folder(const std::filesystem::path& folder) override;
  void remove_all(const std::filesystem::path& name) override;

private:
  friend class simulated_file;
  struct change { ///< Not synced; a change of size has no bytes.
    std::uint64_t at = 0;
    std::string bytes;
    bool sizes = false;
  };
  struct inode {
    std::string seen, synced;
    std::vector<change> pending;
    std::uint64_t reserved = 0;
  };
  using name_table = std::map<std::string, std::uint64_t>;

  void call(); ///< Counts, and dies where it is time to.
  void names_changed();
  static void apply(std::string& to, const change& what, std::size_t bytes);

  std::uint64_t x_calls = 0, x_syncs = 0, x_next_inode = 1;
  std::uint64_t x_folder_syncs = 0, x_folder_syncs_failed = 0;
  std::map<std::uint64_t, inode> x_inodes;
  name_table x_names;
  std::vector<name_table> x_names_pending; ///< One after each change since the last sync.
  name_table x_names_synced;
};

} // namespace viva::faults
