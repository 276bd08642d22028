#include "bench/coordinator_bench.hpp"

#include "actors/findings.hpp"
#include "actors/job_policy.hpp"
#include "actors/journal_file.hpp"
#include "actors/lane_frames.hpp"
#include "actors/node/letters.hpp"
#include "bench/processor_time.hpp"
#include "bench/scratch_folder.hpp"
#include "kernels/metrics.hpp"

#include <deque>
#include <fstream>
#include <random>
#include <string>

#include <unistd.h>

namespace viva::bench {
namespace {

using namespace actors;

constexpr std::uint32_t receipts_a_tick = 10'000;

constexpr std::uint64_t shard_bytes = 8ull << 20, tensor_shards = 64, cols = 4096;
constexpr std::uint64_t shard_rows = shard_bytes / cols / sizeof(float);

/// Shards of 8 MiB: of one tensor that is copied, or of many of 512 MiB that are encoded.
plan work_of(const coordinator_options& options) {
  plan made;
  made.job = options.encoded ? "quantize" : "copy";
  made.output.files.emplace_back();
  const std::uint64_t of_one = options.encoded ? tensor_shards : options.shards;
  for (std::uint64_t s = 0; s < options.shards; ++s) {
    if (s % of_one == 0) {
      auto& tensor = made.tensors.emplace_back();
      tensor.name = "weight";
      tensor.rows = of_one * (options.encoded ? shard_rows : shard_bytes);
      tensor.cols = options.encoded ? cols : 1;
      if (options.encoded)
        tensor.target = kernels::parse_recipe("nf4", kernels::dtype::f32).value();
    }
    const auto count = options.encoded ? shard_rows : shard_bytes;
    made.shards.push_back({options.encoded ? task::encode : task::copy,
                           static_cast<std::uint32_t>(made.tensors.size() - 1),
                           s % of_one * count, count, shard_bytes});
  }
  return made;
}

/// What a lane tells of the errors of normal weights, of an eighth of a shard: what differs in a
/// whole one are digits.
std::string findings_of(const coordinator_options& options) {
  if (!options.encoded)
    return {};
  constexpr std::size_t rows = shard_rows / 8;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> values(rows * cols);
  for (auto& x : values)
    x = 0.02f * normal(random);
  const auto how = kernels::parse_recipe("nf4", kernels::dtype::f32).value();
  const auto shape = how.row->shape(how, cols);
  std::vector<std::vector<std::byte>> planes;
  std::vector<std::byte*> to;
  for (const auto& each : shape.all())
    to.push_back(planes.emplace_back(each.bytes(0, rows, cols)).data());
  kernels::error_sums sums;
  static_cast<void>(kernels::encode_and_measure(
    how, {reinterpret_cast<const std::byte*>(values.data()), kernels::dtype::f32, rows, cols}, {},
    to, &sums, kernels::path::simd));
  return sums.encode();
}

double resident_bytes() {
  std::ifstream in("/proc/self/statm");
  double all = 0, resident = 0;
  in >> all >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

/// What lies between the conductor and its nodes: orders become letters, letters receipts. What a
/// node says is written once for each length, for that is the node's work.
class letter_box {
public:
  void send(const hand_out& what) {
    work_order order{what.number, {}};
    for (const auto& task : what.tasks)
      order.tasks.push_back({task, lane_fault::none});
    x_bytes += encode(node::letter{node::word::work, stamp,
                                   node::encode(node::parcel{0, 1, encode(order)})})
                 .size();
  }
  /// False where it cannot be read, or tells what makes no sense.
  bool receive(const plan& work, const batch_receipt& home) {
    if (home.shards.size() != x_shards) {
      x_shards = home.shards.size();
      work_receipts all{home.number, 0, {}};
      for (const auto& each : home.shards)
        all.shards.push_back({each, {}});
      x_answer = encode(node::letter{node::word::receipts, stamp,
                                     node::encode(node::parcel{0, 1, encode(all)})});
    }
    x_bytes += x_answer.size();
    const auto from = node::decode_letter(x_answer);
    const auto what = from ? node::decode_parcel(from->body) : std::nullopt;
    const auto all = what ? decode_receipts(what->bytes) : std::nullopt;
    if (!all || all->shards.size() != x_shards)
      return false;
    return std::ranges::all_of(all->shards, [&](const auto& each) {
      return findings_make_sense(work, each.receipt.id.shard, each.receipt.findings);
    });
  }
  std::uint64_t bytes() const {
    return x_bytes;
  }

private:
  static constexpr node::stamp stamp{1, 2, 3};
  std::uint64_t x_bytes = 0;
  std::size_t x_shards = 0;
  std::string x_answer;
};

/// Plays lanes and journal: who was given first is home first.
class pretended_cluster {
public:
  pretended_cluster(const plan& work, const coordinator_options& options, journal_file journal)
      : x_work(&work), x_findings(findings_of(options)), x_policy(work, {}, {}),
        x_journal(std::move(journal)) {
    for (std::uint32_t node = 0; node < options.nodes; ++node)
      for (std::uint32_t lane = 0; lane < options.lanes_per_node; ++lane)
        x_policy.lane_up("node-" + std::to_string(node) + "/lane-" + std::to_string(lane));
  }

  expected<coordinator_cost> run() {
    x_policy.start();
    obey();
    for (std::uint64_t home = 1; !x_over && !x_out.empty(); ++home) {
      const auto next = std::move(x_out.front());
      x_out.pop_front();
      batch_receipt receipt{next.lane, next.number, {}};
      for (const auto& each : next.tasks)
        receipt.shards.push_back({each.id, each.id.shard, x_findings, {}});
      if (!x_letters.receive(*x_work, receipt))
        return fail(errc::fault, "bench nodes: a letter of receipts cannot be read");
      x_policy.take_receipt(receipt);
      if (home % receipts_a_tick == 0)
        x_policy.tick();
      obey();
    }
    if (x_problem.code != errc::ok)
      return tl::unexpected(x_problem);
    return x_cost;
  }

private:
  void obey() {
    for (auto& each : x_policy.take_commands())
      std::visit([this](auto& what) { carry_out(what); }, each);
  }
  void carry_out(hand_out& what) {
    x_letters.send(what);
    x_out.push_back(std::move(what));
  }
  void carry_out(save& what) {
    const auto done = x_journal.append(what.records);
    x_policy.saved(done ? error{} : done.error());
    obey();
  }
  void carry_out(give_name&) {
    x_policy.named({});
    obey();
  }
  void carry_out(open_isolation&) {
  }
  void carry_out(end_lane&) {
  }
  void carry_out(give_answer& what) {
    x_over = true;
    x_cost.messages = static_cast<double>(what.outcome.messages);
    x_cost.letter_bytes = static_cast<double>(x_letters.bytes());
    x_cost.shards_done = x_policy.shards_done();
    x_problem = what.outcome.problem;
  }

  const plan* x_work;
  const std::string x_findings;
  job_policy x_policy;
  journal_file x_journal;
  letter_box x_letters;
  error x_problem;
  std::deque<hand_out> x_out;
  coordinator_cost x_cost;
  bool x_over = false;
};

} // namespace

expected<coordinator_cost> measure_coordinator(const coordinator_options& options) {
  const auto room = scratch_folder::make();
  if (!room)
    return tl::unexpected(room.error());
  const auto file = room->path() / "journal";
  auto journal = journal_file::open(file, {{"job", "bench"}}, {});
  if (!journal)
    return tl::unexpected(journal.error());
  const double before = resident_bytes();
  const auto work = work_of(options);
  const double began = processor_seconds();
  pretended_cluster all(work, options, std::move(*journal));
  auto cost = all.run();
  if (!cost)
    return cost;
  const double count = options.shards;
  cost->us_per_shard = (processor_seconds() - began) * 1e6 / count;
  cost->bytes_per_shard = (resident_bytes() - before) / count;
  cost->journal_bytes = static_cast<double>(std::filesystem::file_size(file)) / count;
  cost->messages /= count;
  cost->letter_bytes /= count;
  return cost;
}

} // namespace viva::bench
