#include "actors/attention_file.hpp"

#include "actors/attention_sides.hpp"
#include "actors/output_claim.hpp"
#include "actors/pipeline.hpp"
#include "actors/pipeline/attention_job.hpp"
#include "actors/workplace.hpp"
#include "formats/checkpoint.hpp"
#include "formats/shown.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include <cerrno>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

namespace viva {
namespace {

using namespace actors;
namespace fs = std::filesystem;
using formats::tensor_entry;

/// out as q lies: (queries, heads * head_size) has its heads beside each other.
std::vector<std::byte> as_q(const attention_side& q, std::vector<std::byte> out) {
  if (q.shape.size() != 2)
    return out;
  std::vector<std::byte> turned(out.size());
  const auto width = q.head_size * kernels::bytes_of(q.lies.type);
  for (std::size_t h = 0; h < q.heads; ++h)
    for (std::size_t i = 0; i < q.rows; ++i)
      std::memcpy(turned.data() + (i * q.heads + h) * width,
                  out.data() + (h * q.rows + i) * width, width);
  return turned;
}

expected<void> write_all(int fd, const fs::path& name, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR)
      return tl::unexpected(system_error("write", name, true));
    bytes = bytes.subspan(static_cast<std::size_t>(std::max<::ssize_t>(written, 0)));
  }
  return {};
}

expected<void> publish(const fs::path& partial, const fs::path& output, bool overwrite) {
  const unsigned flags = overwrite ? 0 : RENAME_NOREPLACE;
  if (::renameat2(AT_FDCWD, partial.c_str(), AT_FDCWD, output.c_str(), flags) != 0)
    return tl::unexpected(system_error("give the output its name", output, true));
  const auto folder = fs::absolute(output).parent_path();
  const descriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0 || ::fsync(opened.get()) != 0)
    return tl::unexpected(system_error("make durable", folder, true));
  return {};
}

/// Removes what a killed run left of its output. Such a run holds OUT.journal, and never writes to
/// it; a partial output without that file is a stranger's, one with lines in it another job's.
expected<void> clear_partial(const attention_spec& spec, bool own) {
  const auto partial = partial_path(spec.output);
  std::error_code why;
  if (fs::symlink_status(partial, why).type() == fs::file_type::not_found)
    return {};
  if (!own)
    return fail(errc::output_exists,
                formats::shown(partial)
                  + ": is left over and has no journal, so nobody knows whose it is; remove it "
                    "or choose another output");
  if (fs::file_size(journal_path(spec.output), why) != 0)
    return fail(errc::output_exists,
                formats::shown(partial)
                  + ": belongs to another job; repeat that job's command to resume it, or choose "
                    "another output");
  if (::unlink(partial.c_str()) != 0)
    return tl::unexpected(system_error("remove", partial, true));
  return {};
}

/// Header, then the tensors in the order that the header gave them; durable before it has its name.
expected<void> write_output(const attention_spec& spec, const attention_side& q,
                            attended result) {
  std::vector<std::uint64_t> rows{q.heads, q.rows};
  if (q.shape.size() == 4)
    rows.insert(rows.begin(), q.batch);
  std::vector<tensor_entry> entries{{"out", q.dtype, q.shape, 0, 0},
                                    {"lse", "F32", rows, 0, 0}};
  const auto header = formats::lay_header(entries, {{"format", "pt"}});
  const auto out = as_q(q, std::move(result.out));
  const auto partial = partial_path(spec.output);
  const descriptor file(::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (file.get() < 0)
    return tl::unexpected(system_error("make", partial, true));
  const auto give_up = [&](const error& why) {
    ::unlink(partial.c_str());
    return tl::unexpected(why);
  };
  auto done = write_all(file.get(), partial, std::as_bytes(std::span(header)));
  for (const auto& entry : entries)
    if (done)
      done = write_all(file.get(), partial,
                       entry.name == "out" ? std::span<const std::byte>(out)
                                           : std::as_bytes(std::span(result.lse)));
  if (done && ::fsync(file.get()) != 0)
    done = tl::unexpected(system_error("make durable", partial, true));
  if (done)
    done = publish(partial, spec.output, spec.overwrite);
  return done ? done : expected<void>(give_up(done.error()));
}

/// Refuses a source that is not what it was before its header was read.
expected<void> check_source(const fs::path& source, const file_state& was,
                            const mapped_file& mapped) {
  if (mapped.struck() || mapped.bytes().size() != was.bytes || state_of(source) != was)
    return fail(errc::malformed, formats::shown(source)
                                   + ": changed or was cut short while its attention was computed; "
                                     "restore it and run the command again");
  return {};
}

attention_view view_of(const attention_spec& spec, const attention_sides& sides) {
  const auto& [q, k, v] = sides;
  return {{.batch = q.batch,
           .heads = q.heads,
           .kv_heads = k.heads,
           .queries = q.rows,
           .keys = k.rows,
           .head_size = q.head_size,
           .scale = spec.scale,
           .causal = spec.causal,
           .window = spec.window},
          {q.lies, k.lies, v.lies}};
}

pipeline_options options_of(const attention_spec& spec, std::uint64_t budget_bytes) {
  return {.lanes = spec.lanes,
          .isolation = spec.lanes_are,
          .lane_program = spec.lane_program.empty() ? "/proc/self/exe" : spec.lane_program,
          .budget_bytes = budget_bytes,
          .nodes = spec.nodes,
          .tls = spec.tls,
          .insecure = spec.insecure,
          .node_timeout_seconds = spec.node_timeout_seconds};
}

/// The program; of one lane what attention.hpp promises; of its process, the spare one and the
/// nursery: as other jobs count them (plan.cpp). Where nodes compute, slabs of a network.
constexpr std::uint64_t base_bytes = 24 << 20, lane_bytes = 1 << 20, process_bytes = 2 << 20,
                        network_bytes = 32 << 20;

/// What lanes need, and the turned copy of out, besides what the pipeline counts.
std::uint64_t fixed_bytes(const attention_spec& spec, const attention_side& q) {
  const std::uint64_t turned = q.shape.size() != 2 ? 0
                                                   : q.rows * q.heads * q.head_size
                                                       * kernels::bytes_of(q.lies.type);
  if (!spec.nodes.empty())
    return base_bytes + turned + network_bytes;
  const std::uint64_t lanes
    = spec.lanes != 0 ? spec.lanes : std::max(1u, std::thread::hardware_concurrency());
  const bool processes = spec.lanes_are == isolation::process;
  return base_bytes + turned + lanes * lane_bytes
         + (processes ? (lanes + 2) * process_bytes : 0);
}

/// The pipeline's part of --max-memory. Refuses what it cannot hold.
expected<std::uint64_t> budget_of(const attention_spec& spec, const attention_side& q,
                                  const attention_view& what, std::span<const std::byte> mapped) {
  shared_table shares({}, false);
  std::shared_ptr<shared_region> lent;
  const bool far = !spec.nodes.empty();
  const bool remote = far || spec.lanes_are == isolation::process;
  if (remote && !far) { // what goes to nodes is copied first (pipeline::lend)
    auto made = shared_region::of_file(spec.source, mapped);
    if (!made)
      return tl::unexpected(made.error());
    shares.enter(lent = std::move(*made));
  }
  const auto fixed = fixed_bytes(spec, q);
  const auto need = fixed + attention_bytes(what, remote ? &shares : nullptr);
  if (need <= spec.memory_bytes_max)
    return spec.memory_bytes_max - fixed;
  return fail(errc::over_budget,
              formats::shown(spec.source) + ": its attention needs "
                + std::to_string((need >> 20) + 1)
                + " MiB beyond the source, more than --max-memory; raise it"
                + (far      ? ", or leave --nodes out: lanes of this machine map the source"
                   : remote ? ", or take fewer --lanes, or --isolation thread, which needs less"
                            : ", or take fewer --lanes"));
}

/// The result, and what lanes did for it. `give_up` is asked now and then: then errc::interrupted.
expected<attended> run_lanes(const attention_spec& spec, const attention_view& what,
                             std::uint64_t budget, std::span<const std::byte> mapped,
                             const std::function<bool()>& give_up, attention_report& report) {
  pipeline pipe{options_of(spec, budget)};
  const auto lent = pipe.lend(spec.source, mapped);
  if (!lent)
    return tl::unexpected(lent.error());
  const auto began = std::chrono::steady_clock::now();
  auto answer = pipe.attention(what, {.name = formats::shown(spec.source)});
  while (!answer.wait_for(std::chrono::milliseconds(50)))
    if (give_up())
      answer.cancel();
  auto result = answer.get();
  if (!result)
    return result;
  report.of = what.of;
  report.type = what.in.q.type;
  report.lanes = pipe.lanes();
  report.key_ranges = result->key_ranges;
  report.seconds =
    std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const auto did = pipe.metrics();
  report.tickets = did.queue->tickets;
  report.tickets_lost = did.queue->tickets_lost;
  report.restarts = did.restarts;
  return result;
}

} // namespace

expected<attention_report> run_attention(const attention_spec& spec,
                                         const std::atomic<bool>* interrupted) {
  const auto was = state_of(spec.source);
  auto source = formats::open_checkpoint(spec.source);
  if (!source)
    return tl::unexpected(source.error());
  if (source->folder || source->files.size() != 1)
    return fail(errc::malformed, formats::shown(spec.source) + ": attention takes one file");
  if (auto free = check_output(*source, spec.output, spec.overwrite); !free)
    return tl::unexpected(free.error());
  std::error_code none;
  if (fs::is_directory(spec.output, none))
    return fail(errc::output_exists, formats::shown(spec.output)
                                       + ": is a folder, and attention makes a file; remove it or "
                                         "choose another output");
  const bool own = fs::exists(journal_path(spec.output), none);
  auto claim = output_claim::take(spec.output);
  if (!claim)
    return tl::unexpected(claim.error());
  if (auto cleared = clear_partial(spec, own); !cleared)
    return tl::unexpected(cleared.error());
  auto mapped = mapped_file::open(source->files.front().path);
  if (!mapped)
    return tl::unexpected(mapped.error());
  if (auto same = check_source(spec.source, was, *mapped); !same) // offsets reach no further
    return tl::unexpected(same.error());
  const auto found = find_sides(spec, *source, mapped->bytes());
  if (!found)
    return tl::unexpected(found.error());
  const auto& [q, k, v] = *found;
  const auto what = view_of(spec, *found);
  if (auto fine = check_attention(what, formats::shown(spec.source)); !fine)
    return tl::unexpected(fine.error());
  const auto budget = budget_of(spec, q, what, mapped->bytes());
  if (!budget)
    return tl::unexpected(budget.error());
  // What fails may do so because of what it read.
  const auto unless_changed = [&](const error& why) {
    const auto same = check_source(spec.source, was, *mapped);
    return tl::unexpected(same ? why : same.error());
  };
  if (auto numbers = check_numbers(spec, *found, interrupted); !numbers)
    return unless_changed(numbers.error());
  attention_report report;
  // Lane processes would die of a source that was cut short, again and again.
  const auto give_up = [&] {
    return (interrupted != nullptr && *interrupted) || state_of(spec.source) != was;
  };
  auto result = run_lanes(spec, what, *budget, mapped->bytes(), give_up, report);
  if (!result)
    return unless_changed(result.error());
  if (auto same = check_source(spec.source, was, *mapped); !same)
    return tl::unexpected(same.error());
  report.k_method = k.encoded ? k.encoded->how.name() : "";
  report.v_method = v.encoded ? v.encoded->how.name() : "";
  if (auto written = write_output(spec, q, std::move(*result)); !written)
    return tl::unexpected(written.error());
  return report;
}

} // namespace viva
