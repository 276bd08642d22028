#pragma once

// Checker: reads a journal by its written form alone, sharing no code with what wrote it, and says
// what a job may believe of it. For use after a simulation or a run that was killed.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace viva::faults {

struct journal_findings {
  enum class state : std::uint8_t {
    empty,   ///< Not even its opening is whole: nothing was ever durable.
    whole,   ///< Every byte belongs to a frame.
    torn,    ///< Bytes behind the last whole frame, and no frame among them.
    damaged, ///< A frame that cannot be read, or is out of sequence, before one that can.
  };
  state is = state::empty;
  std::uint64_t frames = 0, good_bytes = 0;
  std::uint32_t lives = 0; ///< Of the last frame.
  std::map<std::string, std::string> fingerprint;
  std::map<std::uint32_t, std::uint64_t> done; ///< Shard to checksum.
  std::map<std::uint32_t, std::vector<std::string>> strikes; ///< Since done or pardoned.
  std::set<std::uint32_t> ever_struck; ///< Whatever became of them since.
  std::set<std::uint32_t> quarantined;
  bool named = false; ///< The output got its name, or was about to.
  std::string ended;  ///< The code that the last life noted as its end; empty where it did not.
  /// Laws that the records break: a shard done twice, struck or put into quarantine although done,
  /// or done in quarantine, without a pardon between; a run that came home although a lane is on
  /// record as dead of it, that ended two lanes, or that was never handed out (runs count from 1,
  /// anew in each life); quarantine without `strikes_max + 1` lanes dead on it, or with more than
  /// those, or for other reasons than theirs; a name for less than all shards; a record behind the
  /// end of its life.
  std::vector<std::string> broken;
};

/// `strikes_max` as the job was told; 0 leaves that law out.
journal_findings check_journal(std::string_view bytes, std::uint32_t strikes_max);

} // namespace viva::faults
