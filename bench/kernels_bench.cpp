#include "bench/kernels_bench.hpp"

#include "bench/bandwidth.hpp"
#include "bench/samples.hpp"
#include "bench/team.hpp"
#include "bench/workbench.hpp"
#include "kernels/target.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <span>

#include <unistd.h>

namespace viva::bench {

namespace {

using kernels::path;

constexpr std::uint64_t cache_values = std::uint64_t{256} << 10;
/// Bytes beyond which a plain store would fetch what it overwrites from memory.
constexpr std::size_t past_cache_bytes = std::size_t{64} << 20;
constexpr double sample_seconds_min = 0.002; ///< Shorter cases are repeated within a sample.
constexpr double sample_seconds_max = 0.25;  ///< Longer ones take fewer rows.

/// Values out of cache: 64 Mi, and more where their source would not be beyond the last level.
std::uint64_t memory_values(kernels::dtype type) {
  const long found = sysconf(_SC_LEVEL3_CACHE_SIZE); // 0 or -1 where nobody knows
  const auto cache = static_cast<std::uint64_t>(std::max(found, 0L));
  std::uint64_t values = std::uint64_t{64} << 20;
  while (3 * values * kernels::bytes_of(type) < 4 * cache)
    values *= 2;
  return values;
}

/// Bytes per second of the three ways of moving a buffer, one entry for each repetition.
struct machine_samples {
  std::vector<double> read, write, copy;
};

/// Besides each method's default: options, searches, and columns that weigh differently.
constexpr const char* options_walked[] = {"int4:absmax", "int4:asym", "int4:search",
                                          "int4:asym:search"};
constexpr const char* weighed_searches[] = {
    "q4_0", "q4_1",    "q5_0", "q5_1", "int4:search", "int4:asym:search", "nvfp4-four-or-six",
    "awq",  "sparse24"};

/// A method with its options, and its name in lines.
struct subject {
  kernels::recipe with;
  std::string name;
};

/// One operation on one instruction set and its samples.
struct bench_case {
  operation op;
  path which;
  std::string isa;
  std::size_t rows = 0;
  unsigned repeats = 1;
  std::vector<double> values_per_s, ratios;
};

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const auto name : kernels::simd_targets())
    if (names.empty() || name == "AVX2")
      names.emplace_back(name);
  return names;
}

/// `bytes` bytes in parts of whole KiB: begin and length of each.
std::pair<std::size_t, std::size_t> share(std::size_t bytes, unsigned part, unsigned parts) {
  const std::size_t units = bytes / 1024;
  const std::size_t first = units * part / parts;
  return {1024 * first, 1024 * (units * (part + 1) / parts - first)};
}

class bench_run {
public:
  bench_run(const kernels_bench_options& options, std::uint64_t values,
            std::map<std::string, double>& references,
            const std::function<void(const bench_line&)>& each)
      : x_options(options), x_place(values, options.type), x_team(options.threads),
        x_references(references), x_each(each) {}

  expected<void> run(const subject& what);
  void report_machine();

private:
  void calibrate(workbench& bench, bench_case& one);
  double seconds(workbench& bench, const bench_case& one);
  void sample(workbench& bench, bench_case& one, const machine_samples& machine);
  void sample_machine(machine_samples& to);
  void report(const std::string& method, const workbench& bench, const bench_case& one);
  bench_line line_of(const std::string& method, const std::string& op, const std::string& isa,
                     const std::vector<double>& values_per_s) const;

  const kernels_bench_options& x_options;
  arena x_place;
  team x_team;
  const std::vector<std::string> x_isas = instruction_sets();
  std::map<std::string, double>& x_references; ///< values/s by method and operation
  const std::function<void(const bench_line&)>& x_each;
  std::map<std::string, machine_samples> x_machine; ///< By instruction set.
  std::uint64_t x_sum = 0;                          ///< Where reads go, so that they are done.
};

void bench_run::sample_machine(machine_samples& to) {
  const auto bytes = x_place.source_size();
  const auto decoded_bytes = x_place.source().values() * 4;
  auto* decoded = reinterpret_cast<std::byte*>(x_place.decoded());
  const bool past_cache = decoded_bytes >= past_cache_bytes;
  // In the cache one pass is too short for the clock.
  const auto repeats = std::max<std::size_t>(1, (std::size_t{32} << 20) / decoded_bytes);
  const auto rate = [&](std::size_t moved, const auto& work) {
    const double taken = x_team.seconds([&](unsigned part) {
      for (std::size_t i = 0; i < repeats; ++i)
        work(part);
    });
    return static_cast<double>(moved * repeats) / taken;
  };
  std::vector<std::uint64_t> sums(x_team.threads());
  to.read.push_back(rate(bytes, [&](unsigned part) {
    const auto [first, count] = share(bytes, part, x_team.threads());
    sums[part] += read_words(x_place.source_bytes() + first, count);
  }));
  to.write.push_back(rate(decoded_bytes, [&](unsigned part) {
    const auto [first, count] = share(decoded_bytes, part, x_team.threads());
    write_words(decoded + first, count, past_cache);
  }));
  to.copy.push_back(rate(bytes, [&](unsigned part) {
    const auto [first, count] = share(bytes, part, x_team.threads());
    std::memcpy(decoded + first, x_place.source_bytes() + first, count);
  }));
  for (const auto sum : sums)
    x_sum += sum;
}

double bench_run::seconds(workbench& bench, const bench_case& one) {
  return x_team.seconds([&](unsigned part) {
    for (unsigned i = 0; i < one.repeats; ++i)
      bench.run(one.op, one.which, one.rows, part, x_team.threads());
  });
}

/// Sets rows and repeats so that a sample is neither too short for the clock nor too long to wait
/// for. Rows shrink only where the method, not the memory, is what takes long.
void bench_run::calibrate(workbench& bench, bench_case& one) {
  const std::size_t all = one.which == path::reference ? cache_values / bench_cols : bench.rows();
  one.rows = std::min({std::max(bench.grain(), all / 64), all, bench.rows()});
  one.repeats = 1;
  seconds(bench, one); // pages, caches and frequencies settle
  const double per_row = seconds(bench, one) / static_cast<double>(one.rows);
  const auto affordable = static_cast<std::size_t>(sample_seconds_max / std::max(per_row, 1e-12));
  one.rows = std::clamp(affordable, std::min(bench.grain(), all), std::min(all, bench.rows()));
  one.rows = std::max<std::size_t>(1, one.rows / bench.grain()) * bench.grain();
  one.rows = std::min(one.rows, bench.rows());
  const double taken = per_row * static_cast<double>(one.rows);
  one.repeats = static_cast<unsigned>(std::max(1.0, sample_seconds_min / std::max(taken, 1e-9)));
}

void bench_run::sample(workbench& bench, bench_case& one, const machine_samples& machine) {
  const double taken = seconds(bench, one);
  const auto values = static_cast<double>(one.rows * bench_cols * one.repeats);
  one.values_per_s.push_back(values / taken);
  const bool writes = one.op == operation::decode;
  const double bytes =
      values * (writes ? 4.0 : static_cast<double>(kernels::bytes_of(x_options.type)));
  one.ratios.push_back(bytes / taken / (writes ? machine.write : machine.read).back());
}

bench_line bench_run::line_of(const std::string& method, const std::string& op,
                              const std::string& isa,
                              const std::vector<double>& values_per_s) const {
  bench_line line;
  line.method = method;
  line.op = op;
  line.path = "simd";
  line.isa = isa;
  line.type = x_options.type;
  line.values = x_place.source().values();
  line.threads = x_team.threads();
  line.values_per_s = median(values_per_s);
  line.mad = median_deviation(values_per_s);
  return line;
}

void bench_run::report(const std::string& method, const workbench& bench, const bench_case& one) {
  const std::string op = to_string(one.op);
  auto line = line_of(method, op, one.isa, one.values_per_s);
  line.path = one.which == path::reference ? "reference" : "simd";
  line.values = one.rows * bench_cols;
  const double source_bytes =
      one.op == operation::decode ? 4.0 : static_cast<double>(kernels::bytes_of(x_options.type));
  const bool only_reads = one.op == operation::survey || one.op == operation::scales;
  const double plane_bytes = only_reads ? 0
                                        : static_cast<double>(bench.plane_bytes(one.rows))
                                              / static_cast<double>(line.values);
  line.bytes_per_s = line.values_per_s * (source_bytes + plane_bytes);
  line.ratio_to_limit = median(one.ratios);
  auto& reference = x_references[method + " " + op];
  if (one.which == path::reference)
    reference = line.values_per_s;
  if (reference > 0)
    line.ratio_to_reference = line.values_per_s / reference;
  x_each(line);
}

expected<void> bench_run::run(const subject& what) {
  const auto& name = what.name;
  workbench bench(what.with, x_place);
  if (const auto done = bench.prepare(); !done)
    return fail(done.code, name + " refuses rows of " + std::to_string(bench_cols) + " values");
  std::vector<bench_case> cases;
  constexpr operation operations[] = {operation::encode, operation::measure, operation::decode,
                                      operation::survey, operation::scales};
  for (const auto op : operations) {
    if (!x_options.only.empty() && x_options.only != to_string(op))
      continue;
    // Surveys have no reference of their own: they are exact sums and maxima.
    if (bench.has(op) && op != operation::survey
        && !x_references.contains(name + " " + to_string(op)))
      cases.push_back({op, path::reference, "scalar", 0, 1, {}, {}});
    for (const auto& isa : x_isas)
      if (bench.has(op))
        cases.push_back({op, path::simd, isa, 0, 1, {}, {}});
  }
  const auto restrict_to = [](const bench_case& one) {
    kernels::use_simd_target(one.which == path::reference ? "" : one.isa);
  };
  for (auto& one : cases) {
    restrict_to(one);
    calibrate(bench, one);
  }
  for (unsigned i = 0; i < x_options.repetitions; ++i) {
    for (const auto& isa : x_isas) {
      kernels::use_simd_target(isa);
      sample_machine(x_machine[isa]);
    }
    for (auto& one : cases) {
      restrict_to(one);
      const auto& isa = one.which == path::reference ? x_isas.front() : one.isa;
      sample(bench, one, x_machine[isa]);
    }
  }
  kernels::use_simd_target({});
  for (const auto& one : cases)
    report(name, bench, one);
  return {};
}

void bench_run::report_machine() {
  for (const auto& [isa, samples] : x_machine)
    for (const auto& [op, bytes_per_s] :
         {std::pair{"read", &samples.read}, std::pair{"write", &samples.write},
          std::pair{"copy", &samples.copy}}) {
      const double width =
          op == std::string("write") ? 4.0 : static_cast<double>(kernels::bytes_of(x_options.type));
      auto values_per_s = *bytes_per_s;
      for (auto& rate : values_per_s)
        rate /= width;
      auto line = line_of("machine", op, isa, values_per_s);
      line.bytes_per_s = median(*bytes_per_s);
      x_each(line);
    }
}

/// What goes into the columns, as far apart as in a model: exp of N(0, 1.5).
std::vector<float> uneven_columns() {
  std::vector<float> made(bench_cols);
  std::mt19937 random(1);
  std::lognormal_distribution<float> draw(0, 1.5f);
  std::ranges::generate(made, [&] { return draw(random); });
  return made;
}

/// `text` as a subject. `channels`, unless empty, weigh its columns.
expected<subject> subject_of(const std::string& text, kernels::dtype type,
                             std::span<const float> channels) {
  auto with = kernels::parse_recipe(text, type);
  if (!with)
    return tl::make_unexpected(with.error());
  with->channels = channels;
  return subject{*with, with->name() + (channels.empty() ? "" : " weighed")};
}

expected<std::vector<subject>> subjects_of(const kernels_bench_options& options,
                                           std::span<const float> channels) {
  std::vector<subject> found;
  if (!options.method.empty()) {
    auto one = subject_of(options.method, options.type,
                          options.weighed ? channels : std::span<const float>());
    if (!one)
      return tl::make_unexpected(one.error());
    found.push_back(*one);
    return found;
  }
  for (const auto& row : kernels::methods())
    found.push_back(subject_of(std::string(row.name), options.type, {}).value());
  for (const auto* text : options_walked)
    found.push_back(subject_of(text, options.type, {}).value());
  for (const auto* text : weighed_searches)
    found.push_back(subject_of(text, options.type, channels).value());
  return found;
}

} // namespace

expected<void> run_kernels_bench(const kernels_bench_options& options,
                                 const std::function<void(const bench_line&)>& each) {
  const auto channels = uneven_columns();
  const auto subjects = subjects_of(options, channels);
  if (!subjects)
    return tl::make_unexpected(subjects.error());
  std::vector<std::uint64_t> sizes{cache_values, memory_values(options.type)};
  if (options.values != 0)
    sizes = {std::max<std::uint64_t>(options.values / bench_cols, 1) * bench_cols};
  std::map<std::string, double> references;
  for (const auto values : sizes) {
    bench_run here(options, values, references, each);
    for (const auto& what : *subjects)
      if (auto done = here.run(what); !done)
        return done;
    here.report_machine();
  }
  return {};
}

} // namespace viva::bench
