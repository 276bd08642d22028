"""PyTorch's scaled_dot_product_attention on the CPU, timed as ggml_attention.c is: D REPETITIONS KEYS…"""

import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

heads = 4
d, repetitions, lengths = int(sys.argv[1]), int(sys.argv[2]), [int(n) for n in sys.argv[3:]]
torch.set_num_threads(1)
torch.manual_seed(1)


def measure(kind, queries, keys, causal):
    q = torch.randn(1, heads, queries, d).to(kind)
    k, v = (torch.randn(1, heads, keys, d).to(kind) for _ in range(2))
    F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    seconds = []
    for _ in range(repetitions):
        began = time.thread_time()
        F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        seconds.append(time.thread_time() - began)
    pairs = queries * keys - (queries * (queries - 1) / 2 if causal else 0)
    print(json.dumps({"peer": "torch", "kv": "f32" if kind == torch.float32 else "bf16", "n": keys, "queries": queries, "d": d,
                      "causal": causal, "gflops": 4 * heads * d * pairs / statistics.median(seconds) / 1e9}), flush=True)


with torch.inference_mode():
    for kind in (torch.float32, torch.bfloat16):
        for n in lengths:
            for causal in (False, True):
                measure(kind, n, n, causal)
        measure(kind, 1, (128 << 20) // heads // d // (4 if kind == torch.float32 else 2), False)
