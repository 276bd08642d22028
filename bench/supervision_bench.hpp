#pragma once

// Supervision, timed: what bench/peers/otp/supervision_bench.erl measures on Erlang/OTP, under the
// same names, on this machine's supervisors.
//
//   restart.kill                 a child is killed -> its successor is in the name table, in the
//                                census, and its subscriber knows; the report is queued
//   restart.crash                the same after an exception
//   restart.crash_reported       … with every report written to a file
//   restart.kill_window_10000    … with 10,000 restarts inside the intensity window
//   give_up.window_10000         the kill that is one too many -> the supervisor is down
//   restart.one_for_all_8, _64   one child is killed -> all are up again
//   restart.rest_for_one_8       the first of eight is killed -> all are up again
//   start_child, start_instance  one after the other, each answered (one_for_one, simple)
//   stop.instances_100000        stop ordered -> supervisor and all children down (simple)
//   stop.children_100000         the same one after the other, last first (one_for_one)
//   process.kill, _spare, _exec  a lane process is killed -> its successor is ready: forked then
//                                from the nursery, waiting as a spare, or started then by exec
//   monitor.kill                 a process is killed -> its monitor knows
//   messages.1_1, messages.4_1   an integer, sent until the receiver has counted all
//   call                         request and answer between two actors

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace viva::bench {

struct measurement {
  std::string metric{};
  std::optional<double> median_us{}, p99_us{}; ///< Of a latency.
  std::optional<double> per_s{};               ///< Of a rate: the median of its rounds.
  std::uint64_t samples = 0;
};

/// Upper bounds of a latency, the lower bound of a rate; what is unset is only reported.
struct goal {
  std::string metric{};
  std::optional<double> median_us{}, p99_us{}, per_s{};
};

struct supervision_bench_options {
  std::uint32_t samples = 10'000;  ///< Of each latency.
  std::uint32_t children = 100'000; ///< To start and to stop.
  std::uint32_t messages = 1'000'000;
  std::uint32_t rounds = 5;        ///< Of a rate and of a stop.
  std::string only{};              ///< Metrics that begin so; empty: all.
  std::vector<std::string> ward_command{}; ///< Of process.kill; empty: not measured.
  std::vector<std::string> ward_nursery{};
  std::string ward_ready_words{};
};

const std::vector<goal>& supervision_goals();

/// Takes about ten seconds; tells each measurement as soon as it is made.
void measure_supervision(const supervision_bench_options& options,
                         const std::function<void(const measurement&)>& tell);

/// `{"metric":"restart.kill","median_us":3.1,"p99_us":9.8,"samples":10000}`
std::string to_json_line(const measurement& what);

/// One line of a table, the goals of its metric beside it; `table_head` is its first line.
std::string table_head();
std::string to_table_line(const measurement& what);

} // namespace viva::bench
