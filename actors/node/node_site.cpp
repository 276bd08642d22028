#include "actors/node/node_site.hpp"

#include "actors/assignment.hpp"
#include "actors/node/roots.hpp"

namespace viva::actors::node {
namespace {

/// OUT.partial as this machine numbers it. A network file system keeps the inode on every machine,
/// not the device.
expected<file_identity> find_partial(const assignment& job) {
  if (job.partial == file_identity{})
    return job.partial;
  const auto name = partial_path(output_of(job));
  const auto here = real_disk().identity(name);
  if (here.inode != job.partial.inode)
    return fail(errc::bad_option, name.string()
                                    + (here.inode == 0 ? ": is not there" : ": is another file")
                                    + " on this node; with --shared-fs all must see one file "
                                      "system by the same names");
  return here;
}

/// What a job really reads and writes, all links followed: a link below a root may lead out of it.
expected<void> check_files(const assignment& job, const plan& work, const node_facts& facts) {
  auto all = work.sources;
  if (work.writes()) {
    const auto partial = partial_path(output_of(job));
    all.push_back(partial);
    if (work.output.folder)
      for (const auto& file : work.output.files)
        all.push_back(partial / file.name);
  }
  for (const auto& each : all)
    if (auto below = check_below(facts.roots, each); !below)
      return below;
  return {};
}

/// The assignment, sized for this machine.
expected<assignment> take_assignment(const assign& what, const node_facts& facts) {
  if (has_lane_faults(what.faults) && !facts.allow_faults)
    return fail(errc::bad_option, "faults on purpose were not allowed to this node; start it with "
                                  "--allow-faults");
  auto job = decode_assignment(what.assignment);
  if (job)
    resize(*job, facts.limits.lanes, facts.limits);
  return job;
}

expected<site_ptr> open_place(assignment job, plan work, file_identity partial,
                              const fault_plan& faults, lease_ptr right = nullptr) {
  static std::atomic<std::uint64_t> steps{0}; // lanes that are threads have nobody who counts
  auto place = workplace::join(work, output_of(job), partial, steps);
  if (!place)
    return tl::unexpected(place.error());
  place->write_while(std::move(right)); // which may be over: then lanes get nothing to write
  auto site = std::make_shared<job_site>(std::move(work), std::move(*place), faults, false);
  site->assignment = encode(std::move(job), site->work, partial);
  return site;
}

} // namespace

expected<site_ptr> open_site(const assign& what, const node_facts& facts, lease_ptr right) {
  auto job = take_assignment(what, facts);
  if (!job)
    return tl::unexpected(job.error());
  for (const auto& each : paths_of(*job))
    if (auto below = check_below(facts.roots, each); !below)
      return tl::unexpected(below.error());
  auto partial = find_partial(*job);
  if (!partial)
    return tl::unexpected(partial.error());
  auto work = plan_again(*job);
  if (!work)
    return tl::unexpected(work.error());
  if (auto inside = check_files(*job, *work, facts); !inside)
    return tl::unexpected(inside.error());
  return open_place(std::move(*job), std::move(*work), *partial, what.faults, std::move(right));
}

expected<site_ptr> open_site(const assign& what, const node_facts& facts, dock& at) {
  auto job = take_assignment(what, facts);
  if (!job)
    return tl::unexpected(job.error());
  use_copies(*job, at.folder());
  auto work = plan_again(*job);
  if (!work)
    return tl::unexpected(work.error());
  const auto output = output_of(*job);
  if (auto same = at.take_plan(*work, output); !same)
    return tl::unexpected(same.error());
  const auto partial = work->writes() ? real_disk().identity(partial_path(output))
                                      : file_identity{};
  return open_place(std::move(*job), std::move(*work), partial, what.faults);
}

} // namespace viva::actors::node
