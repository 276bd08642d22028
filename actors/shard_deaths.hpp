#pragma once

// Shard deaths: what lanes died of at work on which shard, and how a job tells of it. Pure.

#include "actors/journal_record.hpp"
#include "actors/ledger.hpp"
#include "actors/plan.hpp"
#include "kernels/error.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace viva::actors {

/// "'tensor': rows 0 to 64"; of a copy, whose rows are its bytes, "bytes 0 to 64".
std::string place_of(const plan& work, std::uint32_t shard);

class shard_deaths {
public:
  /// `work` must outlive it. `earlier`: the deaths of earlier lives of the job.
  shard_deaths(const plan& work, const earlier_run& earlier);

  /// A lane died on it, by its device or not; the record of that.
  strike_record note(ticket run, const std::string& reason, bool of_device);
  /// How often a device broke on this shard in this life of the job.
  std::uint32_t of_devices(std::uint32_t shard) const;
  /// The record of a shard that is not run again.
  quarantine_record evidence(std::uint32_t shard) const;
  /// Why a job with shards in quarantine has failed.
  error problem(const ledger& book) const;

private:
  const plan* x_work;
  std::map<std::uint32_t, std::vector<std::string>> x_reasons; ///< In order.
  std::map<std::uint32_t, std::uint32_t> x_of_devices;
};

} // namespace viva::actors
