#include "bench/node_jobs.hpp"

#include "actors/job.hpp"
#include "actors/node/look.hpp"
#include "bench/node_child.hpp"
#include "bench/samples.hpp"
#include "bench/scratch_folder.hpp"
#include "formats/synth.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>

#include <sys/resource.h>

namespace viva::bench {
namespace {

namespace fs = std::filesystem;

using cluster = std::vector<std::unique_ptr<node_child>>;

expected<cluster> start_nodes(std::size_t count, const fs::path& root) {
  cluster all;
  while (all.size() < count) {
    auto one = node_child::start(root);
    if (!one)
      return tl::unexpected(one.error());
    all.push_back(std::move(*one));
  }
  return all;
}

/// Of this process and of all that it has waited for.
double processor_of_all() {
  double all = 0;
  for (const int whose : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage used{};
    ::getrusage(whose, &used);
    for (const auto& each : {used.ru_utime, used.ru_stime})
      all += static_cast<double>(each.tv_sec) + 1e-6 * static_cast<double>(each.tv_usec);
  }
  return all;
}

bool same_files(const fs::path& a, const fs::path& b) {
  const auto bytes_of = [](const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return std::string{std::istreambuf_iterator<char>(in), {}};
  };
  for (const auto& each : fs::directory_iterator(a))
    if (bytes_of(each.path()) != bytes_of(b / each.path().filename()))
      return false;
  return true;
}

class job_table {
public:
  job_table(const node_jobs_options& options, fs::path root) : x_options(options), x_root(root) {
  }

  /// Of rounds of one kind, nodes started and ended for each so that their seconds are known.
  expected<node_job_line> row(const std::string& metric, std::size_t nodes, bool shared) {
    std::vector<double> rates, processor;
    for (std::uint32_t i = 0; i < x_options.rounds; ++i) {
      const double before = processor_of_all();
      const auto seconds = run(nodes, shared);
      if (!seconds)
        return tl::unexpected(seconds.error());
      rates.push_back(1.048576 * x_options.mebibytes / *seconds);
      processor.push_back((processor_of_all() - before) / (1048576e-9 * x_options.mebibytes));
      if (nodes != 0 && !same_files(x_root / "local", output_of(nodes)))
        return fail(errc::job_failed,
                    "bench nodes: " + metric + " made other bytes than job_local");
    }
    node_job_line line{metric, median(rates), median_deviation(rates), median(processor), 0};
    x_local = nodes == 0 ? line.mb_per_s : x_local;
    line.to_local = line.mb_per_s / x_local;
    return line;
  }

private:
  /// Seconds of the job; its nodes have ended when this returns.
  expected<double> run(std::size_t count, bool shared) {
    const auto nodes = start_nodes(count, x_root);
    if (!nodes)
      return tl::unexpected(nodes.error());
    quantize_spec spec;
    spec.source = x_root / "source";
    spec.output = output_of(count);
    spec.method = x_options.method;
    spec.overwrite = true;
    spec.limits.lanes = count == 0 ? 2 : 0;
    spec.limits.lanes_are = isolation::process;
    spec.limits.shared_fs = shared;
    for (const auto& each : *nodes)
      spec.limits.nodes.push_back(each->address());
    const auto done = run_quantize(spec);
    if (!done)
      return tl::unexpected(done.error());
    return done->seconds;
  }
  fs::path output_of(std::size_t nodes) const {
    return x_root / (nodes == 0 ? "local" : "over-nodes");
  }

  const node_jobs_options& x_options;
  const fs::path x_root;
  double x_local = 1;
};

expected<control_line> measure_control(std::uint32_t questions, const fs::path& root) {
  const auto nodes = start_nodes(1, root);
  if (!nodes)
    return tl::unexpected(nodes.error());
  job_limits limits;
  limits.nodes = {nodes->front()->address()};
  auto took = time_questions(limits, questions);
  if (!took)
    return tl::unexpected(took.error());
  std::ranges::sort(*took);
  return control_line{median(*took) * 1e6, (*took)[took->size() * 99 / 100] * 1e6};
}

} // namespace

expected<void> measure_node_jobs(const node_jobs_options& options,
                                 const std::function<void(const control_line&)>& tell_control,
                                 const std::function<void(const node_job_line&)>& tell_job) {
  const auto room = scratch_folder::make();
  if (!room)
    return tl::unexpected(room.error());
  const auto& root = room->path();
  const auto control = measure_control(options.questions, root);
  if (!control)
    return tl::unexpected(control.error());
  tell_control(*control);
  formats::synth_options source;
  source.output = root / "source";
  source.bytes = std::uint64_t{options.mebibytes} << 20;
  if (auto made = formats::synthesize(source, {}); !made)
    return made;
  job_table table(options, root);
  struct kind { const char* metric; std::size_t nodes; bool shared; };
  for (const auto& each : {kind{"job_local", 0, false}, {"job_1", 1, false}, {"job_2", 2, false},
                           {"job_4", 4, false}, {"job_2_shared", 2, true}}) {
    const auto line = table.row(each.metric, each.nodes, each.shared);
    if (!line)
      return tl::unexpected(line.error());
    tell_job(*line);
  }
  return {};
}

} // namespace viva::bench
