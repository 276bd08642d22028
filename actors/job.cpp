#include "actors/job.hpp"

#include "actors/assignment.hpp"
#include "actors/collector.hpp"
#include "actors/durable.hpp"
#include "actors/job_door.hpp"
#include "actors/job_nodes.hpp"
#include "actors/job_report.hpp"
#include "actors/output_claim.hpp"
#include "actors/plan_size.hpp"
#include "actors/resume.hpp"
#include "actors/shard_work.hpp"
#include "actors/tree.hpp"
#include "supervision/reason.hpp"

#include <caf/all.hpp>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cmath>
#include <thread>

namespace viva {
namespace {

using namespace actors;
namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds progress_every{100}, meters_every{1000};

double seconds_since(clock::time_point began) {
  return std::chrono::duration<double>(clock::now() - began).count();
}

/// Of this machine; none where nodes work and nobody said otherwise.
std::uint32_t lanes_of(const job_limits& limits) {
  if (limits.lanes != 0 || !limits.nodes.empty())
    return limits.lanes;
  return std::max(1u, std::thread::hardware_concurrency());
}

/// For what is sized by lanes: one at least, which runs suspects alone.
std::uint32_t executors_of(const job_limits& limits) {
  return std::max(1u, lanes_of(limits) + static_cast<std::uint32_t>(limits.devices.size()));
}

/// Waits for the conductor's one answer; passes progress on and Ctrl-C down.
job_outcome follow(tree& lives, const caf::actor& conductor, const job_site& site,
                   const job_observer& observer, const job_nodes& nodes,
                   clock::time_point began) {
  caf::scoped_actor self{lives.system()};
  self->monitor<caf::message_priority::high>(conductor);
  self->send(conductor, run_job{caf::actor_cast<caf::actor>(self)});
  std::optional<job_outcome> outcome;
  bool stop_sent = false;
  auto meters_due = began;
  while (!outcome) {
    if (observer.interrupted != nullptr && observer.interrupted->load() && !stop_sent) {
      self->send(conductor, stop_job{});
      stop_sent = true;
    }
    if (const auto why = nodes.problem(); why.code != errc::ok && !stop_sent) {
      self->send(conductor, fail_job{why});
      stop_sent = true;
    }
    self->receive(
      [&](job_outcome& answer) { outcome = std::move(answer); },
      [&](const caf::down_msg& down) {
        outcome = job_outcome{};
        outcome->problem = {errc::job_failed, "the job's conductor was lost: "
                                                + supervision::to_text(down.reason)
                                                + "; run the same command again to resume"};
      },
      caf::after(progress_every) >> [] {});
    if (observer.on_progress)
      observer.on_progress({.bytes_done = site.bytes_done,
                            .bytes_total = site.work.source_bytes,
                            .shards_done = site.shards_done,
                            .shards_total = site.work.shards.size(),
                            .restarts = read_meters(lives.board()).restarts,
                            .seconds = seconds_since(began)});
    if (observer.on_meters && clock::now() >= meters_due) {
      observer.on_meters(lives.meters());
      meters_due = clock::now() + meters_every;
    }
  }
  return std::move(*outcome);
}

expected<void> check_space(const plan& work, const fs::path& output) {
  struct statvfs disk {};
  const auto folder = fs::absolute(output).parent_path();
  if (::statvfs(folder.c_str(), &disk) != 0)
    return tl::unexpected(system_error("write into", folder, true));
  std::uint64_t there = 0; // blocks an earlier run of this job reserved already
  for (const auto& file : work.output.files) {
    const auto name = work.output.folder ? partial_path(output) / file.name : partial_path(output);
    struct stat info {};
    if (::stat(name.c_str(), &info) == 0)
      there += static_cast<std::uint64_t>(info.st_blocks) * 512;
  }
  const auto free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize + there;
  if (free < work.output_bytes)
    return fail(errc::disk_full, output.string() + ": needs " + std::to_string(work.output_bytes)
                                   + " bytes, " + std::to_string(free)
                                   + " are free; free some space or choose another place");
  return {};
}

struct run_options {
  assignment what; ///< The plan's origin, for lanes that are processes.
  fs::path output;
  job_limits limits;
  fault_plan faults;
  bool overwrite = false, strict = false, retry_quarantined = false;
};

/// What a job that writes has of its output; nothing of it where it writes nothing.
struct output_hold {
  std::optional<output_claim> claim;
  earlier_run earlier;
  std::shared_ptr<journal_file> journal;
  bool at_work = false; ///< The job came as far as its conductor.
  bool with_nodes = false; ///< Others than this machine may have said what came of it.
};

/// Everything before the first byte: the claim, what an earlier run left, the space, the journal.
expected<void> begin_output(const plan& work, const run_options& options, output_hold& hold) {
  auto taken = output_claim::take(options.output);
  if (!taken)
    return tl::unexpected(taken.error());
  hold.claim.emplace(std::move(*taken));
  auto found = find_earlier(real_disk(), options.output, work.fingerprint, options.overwrite);
  if (!found)
    return tl::unexpected(found.error());
  hold.earlier = std::move(*found);
  if (!hold.earlier.named)
    if (auto space = check_space(work, options.output); !space)
      return space;
  auto opened =
    journal_file::open(journal_path(options.output), work.fingerprint, hold.earlier.journal);
  if (!opened)
    return tl::unexpected(opened.error());
  hold.journal = std::make_shared<journal_file>(std::move(*opened));
  return options.retry_quarantined ? pardon(hold.earlier, *hold.journal) : expected<void>{};
}

/// True where nothing would be lost with it.
bool knows_no_shard(const fs::path& journal) {
  const auto known = read_journal(journal);
  return known && known->done.empty() && known->strikes.empty() && known->quarantined.empty();
}

/// Tidies up behind a job with a problem, when all its actors have ended; what is to be said of it.
error leave_behind(const output_hold& hold, const fs::path& output, error why) {
  if (!hold.claim)
    return why;
  const bool of_values = why.code == errc::not_finite || why.code == errc::bad_shape;
  const bool ends_so_again = of_values && !hold.with_nodes; // one node's word is no proof
  const bool bad_input = of_values || why.code == errc::malformed || why.code == errc::unreadable;
  if (ends_so_again || ((bad_input || !hold.at_work) && knows_no_shard(journal_path(output)))) {
    hold.claim->discard(); // there is nothing to resume
    return why;
  }
  // A network file system may have had a hiccup, which costs hours of work nothing.
  if (why.code == errc::unreadable)
    why.text += "; what is done is kept: run the same command again when it can be read";
  if (why.code == errc::malformed && why.text.find("--overwrite") == std::string::npos)
    why.text += "; what was done is kept: say --overwrite to start anew from the source as it is";
  if (of_values)
    why.text += "; nodes took part, of which one may be wrong, and what is done is kept: where the "
                "source is sound, look at them and run the same command again";
  note_end(*hold.journal, why);
  return why;
}

/// Faults that end a whole process are for lanes that have one of their own.
expected<void> check_faults(const run_options& options) {
  const auto& f = options.faults;
  const bool for_processes = f.crash_at != 0 || f.abort_at != 0 || f.hang_at != 0 || f.oom_at != 0
                             || f.garbage_at != 0 || f.exit_at != 0 || f.sticky_at != 0;
  if (for_processes && options.limits.lanes_are == isolation::thread
      && options.limits.nodes.empty())
    return fail(errc::bad_option, "a fault that ends the whole process needs --isolation process");
  return {};
}

/// Fills the assignment in; sets up what lanes share.
site_ptr make_site(plan work, workplace place, const run_options& options, std::uint32_t lanes) {
  const auto site = std::make_shared<job_site>(std::move(work), std::move(place), options.faults,
                                               options.overwrite);
  const auto& limits = options.limits;
  if (limits.lanes_are == isolation::process || !limits.nodes.empty() || !limits.devices.empty()) {
    auto what = options.what;
    make_absolute(what);
    what.lanes = lanes;
    site->assignment = encode(std::move(what), site->work, site->place.partial_identity());
  }
  return site;
}

conductor_options order_of(const site_ptr& site, earlier_run earlier, const run_options& options) {
  conductor_options order;
  order.site = site;
  order.earlier = std::move(earlier);
  order.policy.strikes_max = options.limits.attempts_max;
  order.policy.interrupt_after = options.faults.interrupt_after;
  // Lanes here write into the output as they work, those of nodes that share it even after the job.
  // What nodes are to bring is written once (claims.hpp), but not beside a lane of here.
  const auto& limits = options.limits;
  const bool brought = !limits.shared_fs && limits.lanes == 0 && limits.devices.empty();
  order.policy.copies = limits.nodes.empty() || brought;
  order.policy.lost_runs = !limits.nodes.empty() && brought ? losers::harmless
                           : limits.lanes_are == isolation::process ? losers::ended
                                                                    : losers::awaited;
  if (!limits.nodes.empty() && limits.lanes == 0)
    order.policy.away_ticks_max = 0; // the nodes may come; --node-timeout (job_nodes.hpp)
  if (options.strict)
    order.policy.quarantine_max = 0;
  return order;
}

/// The job's life, from its open files to the end of its last actor.
expected<run_result> live(plan work, const run_options& options, const job_observer& observer,
                          job_nodes& nodes, output_hold& hold, clock::time_point began) {
  const auto lanes = executors_of(options.limits);
  auto& earlier = hold.earlier;
  auto place = earlier.named ? workplace::revisit(work, options.output, *earlier.named)
                             : workplace::open(work, options.output, observer.interrupted);
  if (!place)
    return tl::unexpected(place.error());
  const auto site = make_site(std::move(work), std::move(*place), options, lanes);
  if (auto loaded = nodes.load(*site); !loaded)
    return tl::unexpected(loaded.error());
  if (auto held = verify_earlier(earlier, site->work, site->place, lanes, observer.interrupted);
      !held)
    return tl::unexpected(held.error());
  if (hold.journal)
    if (auto told = forget_damaged(earlier, *hold.journal); !told)
      return tl::unexpected(told.error());
  auto lives =
    tree::grow(lanes_of(options.limits), hold.journal, options.limits, nodes.network(site));
  if (!lives)
    return tl::unexpected(lives.error());
  const bool resumed = earlier.journal.bytes != 0;
  auto order = order_of(site, std::move(earlier), options);
  order.strays = nodes.strays(resumed);
  auto conductor = lives->start_job(std::move(order));
  if (!conductor)
    return tl::unexpected(conductor.error());
  hold.at_work = true;
  lives->start_devices();
  std::optional<job_door> door;
  if (observer.door)
    door.emplace([&] { return describe(*lives, *site, options.output, seconds_since(began)); });
  run_result result;
  result.outcome = follow(*lives, *conductor, *site, observer, nodes, began);
  *conductor = nullptr;
  result.meters = lives->meters();
  if (observer.on_meters)
    observer.on_meters(result.meters);
  result.seconds = seconds_since(began);
  if (result.outcome.problem.code != errc::ok)
    return tl::unexpected(result.outcome.problem);
  return result;
}

expected<run_result> run(plan work, const run_options& options, const job_observer& observer) {
  const auto began = clock::now();
  if (auto sane = check_faults(options); !sane)
    return tl::unexpected(sane.error());
  auto nodes = job_nodes::of(options.limits);
  if (!nodes)
    return tl::unexpected(nodes.error());
  if (auto fits = fit_memory(work, options.limits, executors_of(options.limits)); !fits)
    return tl::unexpected(fits.error());
  output_hold hold;
  hold.with_nodes = !options.limits.nodes.empty();
  if (work.writes())
    if (auto begun = begin_output(work, options, hold); !begun)
      return tl::unexpected(begun.error());
  auto result = live(std::move(work), options, observer, *nodes, hold, began);
  if (!result)
    return tl::unexpected(leave_behind(hold, options.output, std::move(result.error())));
  return result;
}

/// Tensors that hold NaN or infinity, with what the report says of them.
expected<std::map<std::string, std::string>> find_kept(const formats::checkpoint& c,
                                                       const quantize_spec& spec,
                                                       const job_observer& observer) {
  auto work = plan_scan(c, spec);
  if (!work)
    return tl::unexpected(work.error());
  const plan names = *work;
  auto found = run(std::move(*work),
                   {.what = {scan_spec{spec}}, .output = {}, .limits = spec.limits, .faults = {}},
                   {.on_progress = {}, .interrupted = observer.interrupted});
  if (!found)
    return tl::unexpected(found.error());
  std::map<std::string, std::string> kept;
  for (std::uint32_t t = 0; t < names.tensors.size(); ++t)
    if (const auto& at = found->outcome.not_finite_at[t]; !at.empty())
      kept[names.tensors[t].name] = "kept: " + name_not_finite(names, t, std::stoull(at));
  return kept;
}

/// Runs a job and turns what came of it into a report.
expected<job_report> run_and_report(plan work, const run_options& options,
                                    const job_observer& observer) {
  const plan kept = work;
  auto result = run(std::move(work), options, observer);
  if (!result)
    return tl::unexpected(result.error());
  return report_of(kept, &*result, options.output);
}

} // namespace

expected<job_report> run_quantize(const quantize_spec& spec, const job_observer& observer) {
  auto source = formats::open_checkpoint(spec.source);
  if (!source)
    return tl::unexpected(source.error());
  if (!spec.dry_run)
    if (auto free = check_output(*source, spec.output, spec.overwrite); !free)
      return tl::unexpected(free.error());
  if (auto fits = fit_plan(*source, spec.limits, executors_of(spec.limits)); !fits)
    return tl::unexpected(fits.error());
  std::map<std::string, std::string> kept;
  if (spec.on_nan == nan_policy::keep) {
    auto found = find_kept(*source, spec, observer);
    if (!found)
      return tl::unexpected(found.error());
    kept = std::move(*found);
  }
  auto work = plan_quantize(*source, spec, kept);
  if (!work)
    return tl::unexpected(work.error());
  if (spec.dry_run)
    return report_of(*work, nullptr, spec.output);
  auto report = run_and_report(std::move(*work),
                               {{spec, kept}, spec.output, spec.limits, spec.faults,
                                spec.overwrite, spec.strict, spec.retry_quarantined},
                               observer);
  if (!report && report.error().code == errc::not_finite)
    report.error().text += "; say --on-nan keep to leave such tensors as they are";
  return report;
}

expected<job_report> run_dequantize(const dequantize_spec& spec, const job_observer& observer) {
  auto source = formats::open_checkpoint(spec.source);
  if (!source)
    return tl::unexpected(source.error());
  if (auto free = check_output(*source, spec.output, spec.overwrite); !free)
    return tl::unexpected(free.error());
  if (auto fits = fit_plan(*source, spec.limits, executors_of(spec.limits)); !fits)
    return tl::unexpected(fits.error());
  auto work = plan_dequantize(*source, spec);
  if (!work)
    return tl::unexpected(work.error());
  return run_and_report(std::move(*work), {{spec}, spec.output, spec.limits, {}, spec.overwrite,
                                           spec.strict, spec.retry_quarantined},
                        observer);
}

expected<job_report> run_compare(const compare_spec& spec, const job_observer& observer) {
  auto a = formats::open_checkpoint(spec.a);
  if (!a)
    return tl::unexpected(a.error());
  auto b = formats::open_checkpoint(spec.b);
  if (!b)
    return tl::unexpected(b.error());
  for (const auto* side : {&*a, &*b})
    if (auto fits = fit_plan(*side, spec.limits, executors_of(spec.limits)); !fits)
      return tl::unexpected(fits.error());
  auto work = plan_compare(*a, *b, spec);
  if (!work)
    return tl::unexpected(work.error());
  return run_and_report(std::move(*work),
                        {.what = {spec}, .output = {}, .limits = spec.limits, .faults = {}},
                        observer);
}

} // namespace viva
