#include "bench/throughput_bench.hpp"

#include "actors/pipeline.hpp"
#include "bench/bandwidth.hpp"
#include "bench/child_time.hpp"
#include "bench/message_rate.hpp"
#include "bench/roll_call.hpp"
#include "bench/samples.hpp"
#include "bench/throughput_field.hpp"
#include "bench/timing.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>

#include <sys/resource.h>

namespace viva::bench {
namespace {

constexpr std::uint64_t single_tensors_max = 1'000'000, single_orders_max = 50'000;
constexpr double paced_seconds = 0.5;
constexpr std::uint32_t paced_window = 6, paced_batch = 256, paced_order = 1024;
constexpr std::uint64_t bare_run_max = 256; // tensors that a plain thread takes at a time
constexpr std::uint64_t latency_every = 16; // tensors a sample; a clock costs a fifth of a tensor
constexpr std::chrono::microseconds idle_nap{20}; // of a thread that has nothing due

double seconds_since(clock::time_point began) {
  return std::chrono::duration<double>(clock::now() - began).count();
}

double processor_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto of = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return of(used.ru_utime) + of(used.ru_stime);
}

double busy_seconds(const snapshot& of) {
  double sum = 0;
  for (const auto& lane : of.lanes)
    sum += lane.busy_seconds;
  return sum;
}

/// The first `count` tensors of the field, in order.
tensor_source all_of(const throughput_field& field, std::uint64_t count) {
  return [&field, count, at = std::uint64_t{0}](std::span<tensor_view> out) mutable {
    const auto n = std::min<std::uint64_t>(out.size(), count - at);
    for (std::uint64_t i = 0; i < n; ++i)
      out[i] = field.view(at + i);
    at += n;
    return n;
  };
}

/// Kills a lane, one after the other, for every `period` of clocked time.
class reaper {
public:
  reaper(pipeline& pipe, std::uint32_t period_ms)
      : x_thread([this, &pipe, period = std::chrono::milliseconds(period_ms)](
                   std::stop_token stop) {
          std::mutex guard;
          std::condition_variable_any come;
          clock::duration clocked{};
          std::uint32_t lane = 0;
          for (auto last = clock::now(); !stop.stop_requested();) {
            std::unique_lock lock{guard};
            come.wait_for(lock, stop, std::chrono::milliseconds{1}, [] { return false; });
            const auto now = clock::now();
            clocked += x_clocked ? now - last : clock::duration{};
            last = now;
            for (; clocked >= period; clocked -= period)
              pipe.kill_lane(lane++);
          }
        }) {
  }
  void clocked(bool on) {
    x_clocked = on;
  }

private:
  std::atomic<bool> x_clocked{false};
  std::jthread x_thread;
};

class throughput_run {
public:
  throughput_run(const throughput_options& options, throughput_field& field, pipeline& pipe)
      : x_options(options), x_field(field), x_pipe(pipe) {
  }

  throughput_result run() {
    std::vector<double> read, bare, ratio, single, messages;
    const auto single_count = std::min(
      x_field.tensors(), x_options.are_apart() ? single_orders_max : single_tensors_max);
    for (std::uint32_t round = 0; round < x_options.rounds; ++round) {
      read.push_back(static_cast<double>(x_field.source_bytes()) / read_once() / 1e9);
      bare.push_back(rate_of(x_field.tensors(), bare_once()));
      const auto full = stream_once(x_field.tensors(), x_options.batch_tensors);
      x_runs.push_back(full);
      ratio.push_back(full.per_s / bare.back());
      const auto alone = stream_once(single_count, 1);
      single.push_back(alone.per_s);
      x_result.single_messages_per_tensor = alone.messages_per_tensor;
      messages.push_back(messages_to_self_per_s(x_options.lanes, single_tensors_max));
    }
    x_result.read_gb_s = median(read);
    x_result.bare_per_s = median(bare);
    x_result.bare_mad = median_deviation(bare);
    take_runs();
    x_result.ratio_to_bare = median(ratio);
    x_result.single_per_s = median(single);
    x_result.caf_messages_per_s = median(messages);
    x_result.wall_s = static_cast<double>(x_field.tensors()) / x_result.tensors_per_s;
    x_result.gb_s = static_cast<double>(x_field.source_bytes()) / x_result.wall_s / 1e9;
    if (x_options.measure)
      run_measured();
    if (x_options.kill_ms != 0)
      run_killed();
    run_paced_rounds();
    x_result.restarts = x_pipe.metrics().restarts;
    return x_result;
  }

private:
  struct stream_run {
    double per_s = 0, messages_per_tensor = 0, cpu_s = 0, seconds = 0;
  };
  void take_runs() {
    const auto all_of_runs = [this](double stream_run::* what) {
      std::vector<double> values;
      for (const auto& each : x_runs)
        values.push_back(each.*what);
      return values;
    };
    x_result.tensors_per_s = median(all_of_runs(&stream_run::per_s));
    x_result.tensors_mad = median_deviation(all_of_runs(&stream_run::per_s));
    x_result.messages_per_tensor = median(all_of_runs(&stream_run::messages_per_tensor));
    x_result.cpu_s = median(all_of_runs(&stream_run::cpu_s));
  }

  static double rate_of(std::uint64_t tensors, double seconds) {
    return static_cast<double>(tensors) / seconds;
  }

  double on_all_threads(const std::function<void(unsigned)>& work) {
    const auto began = clock::now();
    on_threads(x_options.lanes, work);
    return seconds_since(began);
  }
  double read_once() {
    const auto parts = x_options.lanes;
    const auto piece = x_field.source_bytes() / parts / 1024 * 1024;
    std::vector<std::uint64_t> sums(parts);
    const auto* from = x_field.view(0).data;
    const auto took =
      on_all_threads([&](unsigned p) { sums[p] = read_words(from + p * piece, piece); });
    static std::atomic<std::uint64_t> kept; // so that no compiler leaves the reading out
    for (const auto sum : sums)
      kept += sum;
    return took;
  }
  double bare_once() {
    const auto count = x_field.tensors();
    x_field.wipe(count);
    std::atomic<std::uint64_t> next{0};
    const auto took = on_all_threads([&](unsigned) {
      for (auto first = next.fetch_add(bare_run_max); first < count;
           first = next.fetch_add(bare_run_max))
        x_field.encode(first, std::min(first + bare_run_max, count));
    });
    check(count);
    return took;
  }
  void check(std::uint64_t count) {
    x_result.results_checked += count;
    x_result.results_wrong += x_field.wrong(count);
  }

  /// Of this process and, where lanes are processes, of theirs; of nodes what their lanes say.
  double processor_of_all() const {
    return processor_seconds()
           + (!x_options.nodes.empty()  ? busy_seconds(x_pipe.metrics())
              : x_options.are_apart() ? processor_seconds_of_children()
                                      : 0);
  }

  stream_run stream_once(std::uint64_t count, std::uint32_t batch_tensors) {
    x_field.wipe(count);
    roll_call roll(count);
    const auto messages = x_pipe.metrics().queue->messages;
    const auto cpu = processor_of_all();
    const auto began = clock::now();
    for (auto&& [index, result] :
         x_pipe.stream_from(all_of(x_field, count), x_options.method,
                            {.batch_tensors = batch_tensors, .into = x_field.results()}))
      roll.note(index, result.has_value());
    stream_run run;
    run.seconds = seconds_since(began);
    run.per_s = rate_of(count, run.seconds);
    run.cpu_s = processor_of_all() - cpu;
    run.messages_per_tensor = static_cast<double>(x_pipe.metrics().queue->messages - messages)
                              / static_cast<double>(count);
    x_result.results_wrong += roll.wrong();
    check(count);
    return run;
  }

  void run_measured() {
    x_field.wipe(x_field.tensors());
    std::uint64_t received = 0;
    x_result.snr_db_least = std::numeric_limits<double>::infinity();
    const auto began = clock::now();
    for (auto&& [index, result] :
         x_pipe.stream_from(all_of(x_field, x_field.tensors()), x_options.method,
                            {.batch_tensors = x_options.batch_tensors,
                             .measure = true,
                             .into = x_field.results()})) {
      if (!result)
        continue;
      ++received;
      const auto& error = *result->measured();
      x_result.snr_db_mean += error.snr_db;
      x_result.snr_db_least = std::min(x_result.snr_db_least, error.snr_db);
      x_result.max_error = std::max(x_result.max_error, double(error.max_error));
    }
    x_result.measured_per_s = rate_of(x_field.tensors(), seconds_since(began));
    x_result.snr_db_mean /= static_cast<double>(x_field.tensors());
    x_result.results_wrong += x_field.tensors() - received;
    check(x_field.tensors());
  }

  // In turn with undisturbed runs, for the machine that both meet is not always the same.
  void run_killed() {
    double killed = 0, calm = 0;
    std::uint64_t runs = 0;
    reaper death(x_pipe, x_options.kill_ms);
    for (; killed < x_options.killed_seconds; ++runs) {
      calm += stream_once(x_field.tensors(), x_options.batch_tensors).seconds;
      const auto before = x_pipe.metrics();
      death.clocked(true);
      killed += stream_once(x_field.tensors(), x_options.batch_tensors).seconds;
      death.clocked(false);
      const auto after = x_pipe.metrics();
      x_result.killed_restarts += after.restarts - before.restarts;
      x_result.tickets_lost += after.queue->tickets_lost - before.queue->tickets_lost;
    }
    x_result.killed_per_s = rate_of(runs * x_field.tensors(), killed);
    x_result.killed_ratio = calm / killed;
  }

  // Open loop: a tensor is due whether or not those before it are done, and its latency counts from
  // there. In turn with plain threads, so that a slow moment of the machine meets both.
  void run_paced_rounds() {
    const pace at{x_result.tensors_per_s / 2, x_field.tensors()};
    std::vector<double> p50, p99, bare_p50, bare_p99;
    const auto keep = [](const samples& us, std::vector<double>& half, std::vector<double>& most) {
      half.push_back(quantile(us, 0.50));
      most.push_back(quantile(us, 0.99));
    };
    for (std::uint32_t round = 0; round < x_options.rounds; ++round) {
      keep(paced_bare(at), bare_p50, bare_p99);
      keep(paced_stream(at), p50, p99);
    }
    x_result.p50_us = median(p50);
    x_result.p99_us = median(p99);
    x_result.bare_p50_us = median(bare_p50);
    x_result.bare_p99_us = median(bare_p99);
  }

  /// When tensors are due.
  struct pace {
    double per_s;
    std::uint64_t count; ///< In all.
    clock::time_point began{};

    pace(double rate, std::uint64_t field)
        : per_s(rate), count(std::min(static_cast<std::uint64_t>(rate * paced_seconds), field)) {
    }
    /// How many are due by now.
    std::uint64_t due() const {
      return std::min(static_cast<std::uint64_t>(seconds_since(began) * per_s), count);
    }
    double late_us(std::uint64_t tensor) const {
      return us_since(began) - static_cast<double>(tensor) / per_s * 1e6;
    }
  };

  // A short window of small batches: what may wait in it is what latency can grow to.
  samples paced_stream(pace at) {
    x_field.wipe(at.count);
    const auto batch = x_options.batch_tensors != 0 ? x_options.batch_tensors
                       : x_options.are_apart()      ? paced_order
                                                    : paced_batch;
    roll_call roll(at.count);
    std::uint64_t given = 0;
    at.began = clock::now();
    const auto source = [&](std::span<tensor_view> out) -> std::size_t {
      const auto n = std::min<std::uint64_t>(at.due() - given, out.size());
      for (std::uint64_t i = 0; i < n; ++i)
        out[i] = x_field.view(given + i);
      given += n;
      return n != 0 || given == at.count ? n : none_yet;
    };
    samples us;
    for (auto&& [index, result] :
         x_pipe.stream_from(source, x_options.method,
                            {.batch_tensors = batch,
                             .window = paced_window,
                             .into = x_field.results()})) {
      roll.note(index, result.has_value());
      if (index % latency_every == 0)
        us.push_back(at.late_us(index));
    }
    x_result.results_wrong += roll.wrong();
    check(at.count);
    return us;
  }

  /// What the machine itself gives: plain threads take what is due, sleep where nothing is.
  samples paced_bare(pace at) {
    std::atomic<std::uint64_t> next{0};
    std::vector<samples> of_threads(x_options.lanes);
    at.began = clock::now();
    on_threads(x_options.lanes, [&](unsigned part) {
      for (auto first = next.load(); first < at.count; first = next.load()) {
        const auto n = std::min(at.due() - first, bare_run_max);
        if (n == 0)
          std::this_thread::sleep_for(idle_nap);
        else if (next.compare_exchange_strong(first, first + n)) {
          x_field.encode(first, first + n);
          for (auto i = first; i < first + n; ++i)
            if (i % latency_every == 0)
              of_threads[part].push_back(at.late_us(i));
        }
      }
    });
    samples all;
    for (const auto& each : of_threads)
      all.insert(all.end(), each.begin(), each.end());
    return all;
  }

  const throughput_options x_options;
  throughput_field& x_field;
  pipeline& x_pipe;
  throughput_result x_result;
  std::vector<stream_run> x_runs; ///< One of each round.
};

} // namespace

expected<throughput_result> measure_throughput(const throughput_options& options) {
  const auto how = kernels::parse_recipe(options.method, dtype::f32);
  if (!how)
    return tl::unexpected(how.error());
  if (how->row->survey_run != nullptr)
    return fail(errc::unsupported, options.method + " reads a tensor twice, so its bare loop is no"
                                                    " single kernel; take another method");
  if (options.values % how->cols_multiple() != 0)
    return fail(errc::bad_shape, options.method + " wants a multiple of "
                                   + std::to_string(how->cols_multiple()) + " values");
  pipeline pipe{{.lanes = options.lanes,
                 .isolation = options.lanes_are,
                 .lane_program = "/proc/self/exe",
                 .budget_tickets = 16 << 10, // of which a stream takes a quarter
                 .nodes = options.nodes,
                 .tls = options.tls,
                 .insecure = options.insecure,
                 .node_timeout_seconds = options.node_timeout_seconds}};
  auto source = pipe.share(throughput_field::source_bytes_of(options.tensors, options.values));
  auto results
    = pipe.share(throughput_field::result_bytes_of(*how, options.tensors, options.values));
  if (!source || !results)
    return tl::unexpected((source ? results : source).error());
  throughput_field field(*how, options.tensors, options.values, options.lanes,
                         {source->bytes(), results->bytes()});
  return throughput_run(options, field, pipe).run();
}

} // namespace viva::bench
