#pragma once

// The journal's bytes: append-only frames, one for each group of records that became durable
// together.
//
//   file    := "VIVAJRN4" frame*
//   frame   := "FRAM" bytes:u32 seq:u64 life:u32 check:u64 payload      all little endian
//              check = xxh3-64 of bytes, seq, life and payload; seq counts up from 0; life is 1 for
//              the first process that worked on the job, one more for each that resumed it
//   payload := record*
//   record  := kind:u8 bytes:u32 body
//   body    := (key:text value:text)*                           1 opening
//            | shard:u32 run:u32 checksum:u64 findings:text     2 done
//            | shard:u32 run:u32 reason:text                    3 strike
//            | shard:u32 source:u64 place:text reason:text*     4 quarantine
//            | shard:u32                                        5 pardon
//            | device:u64 inode:u64 replaces:u8                 6 naming
//            | code:text words:text                             7 closing
//   text    := bytes:u32 byte*
//
// The first frame holds the opening alone: the fingerprint of the job, key by key. A frame is
// synced before the next is written, so a crash can only tear the last; a torn tail (also zeros or
// garbage, as a power cut leaves them) is cut off. A bad frame with a whole one behind it, or one
// out of sequence, is damage and stops with its offset: nothing is guessed. Life and run together
// are the token of a run of a shard: none that a strike names ever comes home. A journal of another
// version is refused, and stays.
//
// `journal_room` says what is kept allocated beyond the end, so that on a full disk a job can still
// write down which shards killed lanes, what fits of what came home, and why it ended.

#include "actors/disk.hpp"
#include "actors/journal_record.hpp"
#include "kernels/error.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace viva::actors {

using fingerprint_map = std::map<std::string, std::string>;

struct journal_content {
  fingerprint_map fingerprint;
  std::vector<done_record> done;              ///< One for each shard; its last.
  std::vector<strike_record> strikes;         ///< Of shards neither done since nor pardoned.
  std::vector<quarantine_record> quarantined; ///< As above.
  std::optional<naming_record> naming;        ///< The last.
  std::optional<closing_record> closing;      ///< Of the last life that wrote, if it could.
  journal_end end;                            ///< Where a torn tail begins.
};

/// True for a file that is empty or begins as a journal does: the only ones that are ours.
bool is_journal(const std::filesystem::path& file);

/// Understands the bytes of a whole journal; `name` is for errors. One shorter than its opening is
/// empty content, not an error.
expected<journal_content> parse_journal(std::string_view bytes, const std::string& name);
expected<journal_content> read_journal(disk& on, const std::filesystem::path& file);
inline expected<journal_content> read_journal(const std::filesystem::path& file) {
  return read_journal(real_disk(), file);
}

/// The first difference in words, or empty where both are equal.
std::string difference(const fingerprint_map& journal, const fingerprint_map& asked);

/// What is kept for a full disk; smaller in simulations, where findings are.
struct journal_room {
  std::uint64_t reserve_bytes = 1 << 20;     ///< Allocated beyond the end.
  std::uint64_t closing_bytes = 256 << 10;   ///< Of them, not for done records.
  std::uint64_t frame_bytes_max = 192 << 10; ///< Of records, where one alone is not larger.
};

class journal_file {
public:
  /// Opens for appending behind `end` as a new life of the job; with `end.bytes` 0 starts anew with
  /// the opening, durable at once.
  static expected<journal_file> open(disk& on, const std::filesystem::path& file,
                                     const fingerprint_map& fingerprint, journal_end end,
                                     journal_room room = {});
  static expected<journal_file> open(const std::filesystem::path& file,
                                     const fingerprint_map& fingerprint, journal_end end) {
    return open(real_disk(), file, fingerprint, end);
  }

  /// Appends them and returns when they are durable: what closes a story first, then what is done.
  /// `disk_full` where they lie in the reserve: end the job. Those that did not fit even there are
  /// no part of the journal, which stays sound; they go to `left_out`. Any other error ends this
  /// journal: after a failed sync the system calls pages clean that are not, so a later success
  /// would be a lie.
  expected<void> append(const std::vector<journal_record>& records,
                        std::vector<journal_record>* left_out = nullptr);

  /// Refuses every later append with this: the bytes that its records would vouch for are lost.
  void condemn(error why) {
    x_condemned = std::move(why);
  }
  /// True until a write or sync failed.
  bool sound() const noexcept {
    return x_condemned.code == errc::ok;
  }

private:
  expected<void> rewrite();
  bool make_room(std::uint64_t payload_bytes, bool closing, expected<void>& problem);
  expected<void> write_frame(const std::string& payload);
  std::unique_ptr<open_file> x_file;
  std::string x_name;
  journal_end x_end;
  journal_room x_room;
  std::uint64_t x_reserved = 0; ///< Blocks are there up to here.
  error x_condemned;
};

} // namespace viva::actors
