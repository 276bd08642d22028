#pragma once

// Attention beside what the processor multiplies and the memory reads in the same repetition.
//
// One repetition runs the limit and then the case, on the same thread; a ratio is the median over
// repetitions. Operations are 4 head_size for each pair of query and visible key, of all heads.

#include "kernels/attention.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace viva::bench {

struct attention_bench_options {
  std::vector<std::size_t> lengths{512, 2048, 8192};
  std::vector<std::size_t> head_sizes{64, 128};
  std::vector<unsigned> threads{1, 2};
  std::vector<kernels::dtype> types{kernels::dtype::f32, kernels::dtype::bf16};
  /// Methods of k and v beside f32 queries, besides k and v as they are.
  std::vector<std::string> methods{"q8_0", "int8", "fp8", "nf4"};
  std::size_t heads = 4;
  /// Also one and two queries against keys and values larger than any cache.
  bool decoding = true;
  /// Of those keys and values where they are plain; encoded ones are as many keys in fewer bytes.
  std::size_t decoding_mebibytes = 256;
  std::string isa; ///< Highway's name; empty: the best.
  unsigned repetitions = 5;
};

struct attention_line {
  kernels::attention::shape of;
  kernels::dtype type = kernels::dtype::f32;
  std::string kv; ///< The method of k and v, or the type.
  std::string isa;
  unsigned threads = 1;
  double seconds = 0;                  ///< Median of the slowest thread's processor time.
  double gflops = 0, gb_per_s = 0;     ///< gb_per_s: of keys and values.
  double peak_gflops = 0;              ///< Of the type's multiply-adds in registers, all threads.
  double ratio_to_peak = 0;
  std::optional<double> sgemm_gflops;  ///< OpenBLAS' products of one head, where it is here.
  /// Decoding: what one thread reads of the same bytes, and the ratio to that.
  std::optional<double> read_gb_per_s, ratio_to_read;
  std::uint64_t extra_bytes = 0;       ///< Scratch of all threads.
};

void run_attention_bench(const attention_bench_options&,
                         const std::function<void(const attention_line&)>& each);

/// Resident memory that attention of one head takes besides its tensors, as the process's pages say
/// at its end, with all it took still there; and that of a matrix of scores.
struct attention_memory {
  std::size_t n = 0;
  std::uint64_t ours = 0, matrix = 0; ///< Bytes.
};

/// n from 64 to `n_max`, doubled, at `head_size`. The matrix is filled, and used, too.
void run_attention_memory(std::size_t head_size, std::size_t n_max,
                          const std::function<void(const attention_memory&)>& each);

} // namespace viva::bench
