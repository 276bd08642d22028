#include "actors/resume.hpp"

#include "actors/shard_work.hpp"

#include <algorithm>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace viva::actors {
namespace {

/// The checksums of shards as their bytes stand in the output, hashed by several threads.
class hashing {
public:
  hashing(const std::vector<done_record>& records, const plan& work, const workplace& place,
          const std::atomic<bool>* interrupted)
      : x_records(records), x_work(work), x_place(place), x_interrupted(interrupted),
        x_found(records.size()) {
  }

  expected<std::vector<std::uint64_t>> run(std::uint32_t threads) {
    const auto count = std::min<std::size_t>(threads, x_records.size());
    {
      std::vector<std::jthread> others;
      for (std::size_t i = 1; i < count; ++i)
        others.emplace_back([this] { work(); });
      work();
    }
    if (x_problem.code != errc::ok)
      return tl::unexpected(x_problem);
    return std::move(x_found);
  }

private:
  void work() {
    for (;;) {
      const auto i = x_next.fetch_add(1);
      if (i >= x_records.size())
        return;
      if (x_interrupted != nullptr && x_interrupted->load())
        return stop({errc::interrupted, "interrupted; run the same command again to resume"});
      const auto found =
        output_checksum(x_work, x_place, x_work.shards[x_records[i].shard]);
      if (!found)
        return stop(found.error());
      x_found[i] = *found;
    }
  }
  void stop(error why) {
    x_next = x_records.size();
    const std::lock_guard lock{x_guard};
    if (x_problem.code == errc::ok)
      x_problem = std::move(why);
  }

  const std::vector<done_record>& x_records;
  const plan& x_work;
  const workplace& x_place;
  const std::atomic<bool>* x_interrupted;
  std::vector<std::uint64_t> x_found;
  std::atomic<std::size_t> x_next{0};
  std::mutex x_guard;
  error x_problem;
};

} // namespace

expected<void> verify_earlier(earlier_run& earlier, const plan& work, const workplace& place,
                              std::uint32_t threads, const std::atomic<bool>* interrupted) {
  const auto unknown = [&](const auto& r) { return r.shard >= work.shards.size(); };
  std::erase_if(earlier.done, unknown);
  std::erase_if(earlier.strikes, unknown);
  std::erase_if(earlier.quarantined, unknown);
  const auto found = hashing(earlier.done, work, place, interrupted).run(threads);
  if (!found)
    return tl::unexpected(found.error());
  std::vector<done_record> good;
  for (std::size_t i = 0; i < earlier.done.size(); ++i) {
    auto& record = earlier.done[i];
    (record.checksum == (*found)[i] ? good : earlier.damaged).push_back(std::move(record));
  }
  earlier.done = std::move(good);
  if (earlier.named && earlier.done.size() != work.shards.size())
    return fail(errc::output_exists,
                place.output().string()
                  + ": is the output of this job, and was changed since; move it away and remove "
                    + journal_path(place.output()).string() + " to run the job again");
  return {};
}

expected<void> forget_damaged(const earlier_run& earlier, journal_file& journal) {
  std::vector<journal_record> records;
  for (const auto& each : earlier.damaged)
    records.emplace_back(pardon_record{each.shard});
  return journal.append(records);
}

expected<void> pardon(earlier_run& earlier, journal_file& journal) {
  std::vector<journal_record> records;
  std::set<std::uint32_t> shards;
  for (const auto& each : earlier.quarantined) {
    records.emplace_back(pardon_record{each.shard});
    shards.insert(each.shard);
  }
  if (auto written = journal.append(records); !written)
    return written;
  std::erase_if(earlier.strikes, [&](const auto& r) { return shards.contains(r.shard); });
  earlier.quarantined.clear();
  return {};
}

} // namespace viva::actors
