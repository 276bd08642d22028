#pragma once

// The library's door for jobs on checkpoints: what to do, how it goes, what came of it.
//
// Each `run_…` owns its actor system and supervision tree for the time of the call, blocks until
// the job ended, and never throws. Paths are opened by the callee; nothing is kept after the
// return.

#include "actors/isolation.hpp"
#include "actors/snapshot.hpp"
#include "kernels/error.hpp"
#include "kernels/metrics.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace viva {

enum class nan_policy : std::uint8_t {
  fail, ///< The first NaN or infinity ends the job, naming tensor and position.
  keep, ///< A tensor that holds one stays in its source type, byte for byte; costs one more read.
};

/// What every job may be told about the machine. Defaults are those of conf/viva.toml.
struct job_limits {
  std::uint32_t lanes = 0;                      ///< 0: one for each core.
  std::uint64_t memory_bytes_max = 1ull << 30;  ///< Beyond the mapped source.
  std::uint64_t shard_bytes_max = 8ull << 20;   ///< Of source, per ticket.
  std::uint32_t attempts_max = 3; ///< Lanes that may die on a shard before it runs alone.
  isolation lanes_are = isolation::thread;
  /// A lane process whose work does not move for so long is killed; longer for large shards.
  std::uint32_t stall_seconds = 30;
  /// The program that is started as `PROGRAM lane`; empty: this very one, which must be viva.
  std::filesystem::path lane_program{};
  /// Devices that get a lane each, beside `lanes`, as kernels::find_devices numbers them; always
  /// processes. One that is not there costs a warning.
  std::vector<int> devices{};
  /// HOST:PORT of nodes that work on the job, too. With them `lanes` are those of this machine, and
  /// 0 is none.
  std::vector<std::string> nodes{};
  bool shared_fs = false; ///< Nodes open source and output by the same names.
  /// The job ends, resumable, where no lane was to be had for so long; 0: it waits.
  std::uint32_t node_timeout_seconds = 0;
  std::filesystem::path tls{}; ///< Folder of certificates (`viva certs`); empty: none.
  bool insecure = false;       ///< Addresses beyond this machine without certificates.
};

/// Faults put in on purpose; refused by the doors unless --allow-faults was said.
struct fault_plan {
  std::uint32_t throw_every = 0; ///< A lane throws on every n-th ticket it starts; 0: never.
  std::uint32_t poison = 0;      ///< Every lane throws on the n-th shard of the plan; 0: none.
  std::uint32_t stop_after = 0; ///< The process ends itself (SIGKILL) after so many durable shards.
  /// The same at a step of giving the output its name: 1 noted, 2 named, 3 the old one removed.
  std::uint32_t stop_at_naming = 0;
  /// The first run of the n-th shard ends its lane process so; 0: never. Not for threads.
  std::uint32_t crash_at = 0, abort_at = 0, hang_at = 0, oom_at = 0, garbage_at = 0, exit_at = 0;
  /// As if the device broke that computes the N-th shard, and the next that does; a lane process
  /// without one does the same. As if it had no memory for it.
  std::uint32_t sticky_at = 0, no_memory_at = 0;
  std::uint32_t interrupt_after = 0; ///< As Ctrl-C, once so many shards of this run came home.
};

struct progress {
  std::uint64_t bytes_done = 0, bytes_total = 0; ///< Of source.
  std::uint64_t shards_done = 0, shards_total = 0;
  std::uint64_t restarts = 0;
  double seconds = 0;
};

/// How the caller follows and stops a job. Called from one thread of the job, at most 10 times a
/// second.
struct job_observer {
  std::function<void(const progress&)> on_progress;
  /// What the collector has: each second while lanes work, and once when they are done or gave up.
  std::function<void(const snapshot&)> on_meters{};
  const std::atomic<bool>* interrupted =
      nullptr; ///< Set by a signal handler; the job stops cleanly.
  bool door = false; ///< Lets `look_into_jobs` of other processes see this job.
};

struct quantize_spec {
  std::string job = "quantize"; ///< As report and journal call it; "prune" is one, too.
  std::filesystem::path source, output;
  std::string method;              ///< "nf4", "int8", …
  std::string layout;              ///< Empty: the method's default.
  std::filesystem::path stats;     ///< Statistics of inputs (formats/statistics.hpp); empty: none.
  std::vector<std::string> include, exclude; ///< Regular expressions (RE2) on tensor names.
  std::vector<std::pair<std::string, std::string>>
      rules; ///< RE, method; first match wins; "copy" keeps.
  nan_policy on_nan = nan_policy::fail;
  bool overwrite = false, dry_run = false;
  bool strict = false;            ///< The first shard in quarantine ends the job.
  bool retry_quarantined = false; ///< Shards that an earlier life put there run again.
  job_limits limits;
  fault_plan faults;
};

struct dequantize_spec {
  std::filesystem::path source, output;
  std::string dtype = "f32"; ///< "f32" (exact), "bf16", "f16", or "source": as it was before.
  bool overwrite = false, strict = false, retry_quarantined = false; ///< As above.
  job_limits limits;
};

struct compare_spec {
  std::filesystem::path a, b; ///< Metrics are of b against a.
  job_limits limits;
};

struct tensor_report {
  std::string name, method, dtype;
  std::vector<std::uint64_t> shape;
  std::uint64_t source_bytes = 0, output_bytes = 0;
  double bits_per_weight = 0;
  std::optional<kernels::metrics> errors; ///< None for copies and in a dry run.
  std::string note;                       ///< "kept: NaN at [3, 17]", …
  bool unmatched = false; ///< compare: missing on one side, or of another shape; `note` says which.
};

struct job_report {
  std::string job;                      ///< "quantize", "dequantize", "compare"
  std::filesystem::path output;
  std::vector<tensor_report> tensors;   ///< Worst first (lowest snr_db), copies last.
  snapshot meters;                      ///< The collector's; its lanes, methods, deaths.
  std::uint64_t source_bytes = 0, output_bytes = 0;
  std::uint64_t shards = 0, shards_resumed = 0, retries = 0, restarts = 0;
  std::uint64_t copies = 0; ///< Shards that were late with one lane and given to another, too.
  std::uint64_t messages =
      0; ///< Between conductor, lanes and journal: 2 for a batch, 2 for a commit.
  std::uint64_t batches = 0, commits = 0;
  double seconds = 0;
  /// The program's peak and its lanes' together. Pages of the source count where they are mapped,
  /// the program's text in each process: what the machine held at one time is less.
  std::uint64_t peak_rss_bytes = 0;
  std::string layout;
};

expected<job_report> run_quantize(const quantize_spec&, const job_observer& = {});
expected<job_report> run_dequantize(const dequantize_spec&, const job_observer& = {});
expected<job_report> run_compare(const compare_spec&, const job_observer& = {});

} // namespace viva
