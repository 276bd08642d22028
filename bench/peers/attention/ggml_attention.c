// ggml's flash attention on the CPU, timed: one JSON line {"peer", "kv", "n", "queries", "d", "causal", "gflops"} a case.
//
//   ggml_attention D REPETITIONS KEYS…
//
// One thread, four heads; queries are f32, k and v f16 (what llama.cpp keeps by default), f32 or q8_0; as many
// queries as keys, then one query on 256 MiB of f32 keys and values. Processor time, the median.

#include <ggml-cpu.h>
#include <ggml.h>

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { heads = 4, repetitions_max = 99 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t random_state = 1;

static float normal(void) { // Box-Muller on a 64-bit LCG
  double u[2];
  for (int i = 0; i < 2; ++i) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    u[i] = ((double)(random_state >> 11) + 0.5) / 9007199254740992.0;
  }
  return (float)(sqrt(-2.0 * log(u[0])) * cos(6.283185307179586 * u[1]));
}

static void fill(struct ggml_tensor* to) {
  const int64_t row = to->ne[0], rows = ggml_nrows(to);
  enum { block_rows = 512 };
  float* block = malloc(sizeof(float) * (size_t)(row * block_rows));
  for (int64_t i = 0; i < row * block_rows; ++i)
    block[i] = normal();
  for (int64_t i = 0; i < rows; i += block_rows) {
    const int64_t count = rows - i < block_rows ? rows - i : block_rows;
    char* at = (char*)to->data + (size_t)i * to->nb[1];
    if (to->type == GGML_TYPE_F32)
      memcpy(at, block, sizeof(float) * (size_t)(count * row));
    else
      ggml_quantize_chunk(to->type, block, at, 0, count, row, NULL);
  }
  free(block);
}

static int ascending(const void* a, const void* b) {
  const double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static void measure(int64_t d, int64_t queries, int64_t keys, bool causal, enum ggml_type kv, int repetitions) {
  const size_t room = (size_t)(heads * (queries + 2 * keys) * d + queries * (keys + 64)) * 4 + (64u << 20);
  struct ggml_context* context = ggml_init((struct ggml_init_params){room, NULL, false});
  struct ggml_tensor* q = ggml_new_tensor_4d(context, GGML_TYPE_F32, d, queries, heads, 1);
  struct ggml_tensor* k = ggml_new_tensor_4d(context, kv, d, keys, heads, 1);
  struct ggml_tensor* v = ggml_new_tensor_4d(context, kv, d, keys, heads, 1);
  fill(q);
  fill(k);
  fill(v);
  struct ggml_tensor* mask = NULL;
  if (causal) {
    mask = ggml_new_tensor_2d(context, GGML_TYPE_F16, keys, queries);
    for (int64_t i = 0; i < queries; ++i)
      for (int64_t j = 0; j < keys; ++j)
        ((ggml_fp16_t*)mask->data)[i * keys + j] = ggml_fp32_to_fp16(j <= i + keys - queries ? 0.0f : -INFINITY);
  }
  struct ggml_tensor* out = ggml_flash_attn_ext(context, q, k, v, mask, 1.0f / sqrtf((float)d), 0, 0);
  struct ggml_cgraph* graph = ggml_new_graph(context);
  ggml_build_forward_expand(graph, out);
  struct ggml_cplan plan = ggml_graph_plan(graph, 1, NULL);
  plan.work_data = malloc(plan.work_size + 1);
  double seconds[repetitions_max];
  ggml_graph_compute(graph, &plan);
  for (int r = 0; r < repetitions; ++r) {
    const double began = now();
    ggml_graph_compute(graph, &plan);
    seconds[r] = now() - began;
  }
  qsort(seconds, (size_t)repetitions, sizeof *seconds, ascending);
  const double pairs = (double)queries * (double)keys - (causal ? 0.5 * (double)queries * (double)(queries - 1) : 0);
  printf("{\"peer\":\"ggml\",\"kv\":\"%s\",\"n\":%lld,\"queries\":%lld,\"d\":%lld,\"causal\":%s,\"gflops\":%.5g}\n", ggml_type_name(kv),
         (long long)keys, (long long)queries, (long long)d, causal ? "true" : "false",
         4.0 * (double)(heads * d) * pairs / seconds[repetitions / 2] / 1e9);
  fflush(stdout);
  free(plan.work_data);
  ggml_free(context);
}

int main(int argc, char** argv) {
  if (argc < 4)
    return 2;
  const int64_t d = atoll(argv[1]);
  const int repetitions = atoi(argv[2]);
  if (repetitions < 1 || repetitions > repetitions_max)
    return 2;
  ggml_cpu_init();
  const enum ggml_type kinds[] = {GGML_TYPE_F16, GGML_TYPE_F32, GGML_TYPE_Q8_0};
  for (size_t t = 0; t < 3; ++t) {
    for (int i = 3; i < argc; ++i)
      for (int causal = 0; causal < 2; ++causal)
        measure(d, atoll(argv[i]), atoll(argv[i]), causal, kinds[t], repetitions);
    measure(d, 1, ((int64_t)128 << 20) / heads / d / 4, false, kinds[t], repetitions);
  }
  return 0;
}
