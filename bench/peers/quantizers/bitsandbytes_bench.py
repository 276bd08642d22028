"""bitsandbytes' quantizers on one CPU thread, timed: JSON lines like ggml_bench.c's.

    bitsandbytes_bench.py VALUES REPETITIONS
"""
import json
import statistics
import sys
import time

import bitsandbytes.functional as F
import torch

values, repetitions = int(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
source = torch.randn(values // 4096, 4096) * 0.02


def timed(method, op, what):
    what()
    seconds = []
    for _ in range(repetitions):
        began = time.thread_time()
        what()
        seconds.append(time.thread_time() - began)
    print(json.dumps({"method": method, "op": op, "peer": "bitsandbytes",
                      "values_per_s": source.numel() / statistics.median(seconds)}), flush=True)


for method, double in (("nf4", False), ("nf4-dq", True)):
    encode = lambda: F.quantize_4bit(source, blocksize=64, quant_type="nf4", compress_statistics=double)
    codes, state = encode()
    timed(method, "encode", encode)
    timed(method, "decode", lambda: F.dequantize_4bit(codes, state))
half = source.half()
timed("llm-int8", "encode", lambda: F.int8_vectorwise_quant(half))
