#include "actors/job_report.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>

namespace viva::actors {
namespace {

std::string spelled(const work_tensor& t) {
  if (t.target)
    return t.target->name();
  if (t.other && t.other->recipe)
    return t.other->recipe->name();
  if (t.source.recipe)
    return t.source.recipe->name();
  return t.decoded || t.other                  ? ""
         : t.rows_by != work_tensor::no_group ? "fold"
                                              : "copy";
}

tensor_report report_of(const work_tensor& t) {
  tensor_report r;
  r.name = t.name;
  r.method = spelled(t);
  r.dtype = t.dtype;
  r.shape = t.shape;
  r.note = t.note;
  r.unmatched = t.unmatched;
  std::uint64_t values = 1;
  for (const auto n : t.shape)
    values *= n;
  const bool plain_copy = t.cols == 1 && !t.target && !t.decoded && !t.other;
  const auto type = dtype_of(t.dtype);
  r.source_bytes = plain_copy && t.note.empty() ? t.rows
                   : type ? values * kernels::bytes_of(*type) : t.output_bytes;
  r.output_bytes = t.output_bytes;
  if (t.target)
    r.bits_per_weight = kernels::bits_per_weight(*t.target, t.rows, t.cols);
  else if (values > 0)
    r.bits_per_weight = 8.0 * static_cast<double>(t.output_bytes) / static_cast<double>(values);
  return r;
}

// Worst first: the lowest SQNR; tensors without errors to show come last, by name.
void sort_worst_first(std::vector<tensor_report>& all) {
  const auto key = [](const tensor_report& r) {
    return r.errors && !std::isnan(r.errors->snr_db) ? r.errors->snr_db : -HUGE_VAL;
  };
  std::ranges::stable_sort(all, [&](const tensor_report& a, const tensor_report& b) {
    if (a.errors.has_value() != b.errors.has_value())
      return a.errors.has_value();
    return key(a) != key(b) ? key(a) < key(b) : a.name < b.name;
  });
}

} // namespace

job_report report_of(const plan& work, const run_result* run,
                     const std::filesystem::path& output) {
  job_report report;
  report.job = work.job;
  report.output = output;
  report.layout = work.layout;
  for (std::size_t i = 0; i < work.tensors.size(); ++i) {
    report.tensors.push_back(report_of(work.tensors[i]));
    if (run != nullptr)
      report.tensors.back().errors = run->outcome.errors[i];
    report.source_bytes += report.tensors.back().source_bytes;
  }
  report.output_bytes = work.output_bytes;
  report.shards = work.shards.size();
  sort_worst_first(report.tensors);
  if (run == nullptr)
    return report;
  report.meters = run->meters;
  report.restarts = run->meters.restarts;
  report.retries = run->outcome.retries;
  report.copies = run->outcome.copies;
  report.shards_resumed = run->outcome.shards_resumed;
  report.messages = run->outcome.messages;
  report.batches = run->outcome.batches;
  report.commits = run->outcome.commits;
  report.seconds = run->seconds;
  struct rusage used {};
  ::getrusage(RUSAGE_SELF, &used);
  report.peak_rss_bytes = static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
  for (const auto& lane : report.meters.lanes)
    report.peak_rss_bytes += lane.peak_rss_bytes;
  return report;
}

} // namespace viva::actors
