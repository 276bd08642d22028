// ggml's quantizers, timed: JSON lines {"method", "op", "peer", "values_per_s"} under viva's names.
//
//   ggml_bench VALUES REPETITIONS
//
// quantize_chunk is what llama-quantize calls, from_float_row the kernel of ggml's CPU backend (where there is
// one), to_float the decoder. One thread, rows of 4096 columns of N(0, 0.02), the median of the repetitions.

#include <ggml-cpu.h>
#include <ggml.h>

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { cols = 4096, repetitions_max = 99 };

static const struct {
  const char* method;
  enum ggml_type type;
} cases[] = {{"q8_0", GGML_TYPE_Q8_0},        {"q4_0", GGML_TYPE_Q4_0},
             {"q4_1", GGML_TYPE_Q4_1},        {"q5_0", GGML_TYPE_Q5_0},
             {"q5_1", GGML_TYPE_Q5_1},        {"mxfp4-ggml", GGML_TYPE_MXFP4},
             {"nvfp4-ggml", GGML_TYPE_NVFP4}};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t random_state = 1;

static float normal(void) { // Box-Muller on a 64-bit LCG: the speed does not depend on the draw
  double u[2];
  for (int i = 0; i < 2; ++i) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    u[i] = ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
  }
  return (float)(0.02 * sqrt(-2.0 * log(u[0])) * cos(6.283185307179586 * u[1]));
}

static int ascending(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static void tell(const char* method, const char* op, const char* peer, double* seconds, int n,
                 int64_t values) {
  qsort(seconds, (size_t)n, sizeof *seconds, ascending);
  printf("{\"method\":\"%s\",\"op\":\"%s\",\"peer\":\"%s\",\"values_per_s\":%.6g}\n", method, op,
         peer, (double)values / seconds[n / 2]);
  fflush(stdout);
}

int main(int argc, char** argv) {
  if (argc != 3)
    return 2;
  const int64_t rows = atoll(argv[1]) / cols, values = rows * cols;
  const int repetitions = atoi(argv[2]) < repetitions_max ? atoi(argv[2]) : repetitions_max;
  float* source = malloc((size_t)values * sizeof *source);
  float* decoded = malloc((size_t)values * sizeof *decoded);
  char* encoded = malloc((size_t)values * 2);
  if (!source || !decoded || !encoded)
    return 1;
  for (int64_t i = 0; i < values; ++i)
    decoded[i] = source[i] = i < 1 << 20 ? normal() : source[i - (1 << 20)];
  ggml_cpu_init();
  for (size_t c = 0; c < sizeof cases / sizeof *cases; ++c) {
    const enum ggml_type type = cases[c].type;
    const struct ggml_type_traits* traits = ggml_get_type_traits(type);
    const ggml_from_float_t row_kernel = ggml_get_type_traits_cpu(type)->from_float;
    const size_t row_bytes = ggml_row_size(type, cols);
    double seconds[3][repetitions_max];
    for (int r = 0; r < repetitions; ++r) {
      double began = now();
      ggml_quantize_chunk(type, source, encoded, 0, rows, cols, NULL);
      seconds[0][r] = now() - began;
      if (row_kernel) {
        began = now();
        for (int64_t i = 0; i < rows; ++i)
          row_kernel(source + i * cols, encoded + (size_t)i * row_bytes, cols);
        seconds[1][r] = now() - began;
      }
      began = now();
      for (int64_t i = 0; i < rows; ++i)
        traits->to_float(encoded + (size_t)i * row_bytes, decoded + i * cols, cols);
      seconds[2][r] = now() - began;
    }
    tell(cases[c].method, "encode", "ggml quantize_chunk", seconds[0], repetitions, values);
    if (row_kernel)
      tell(cases[c].method, "encode", "ggml row kernel", seconds[1], repetitions, values);
    tell(cases[c].method, "decode", "ggml to_float", seconds[2], repetitions, values);
  }
  return 0;
}
