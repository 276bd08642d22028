#!/usr/bin/env bash
# Encoders and decoders here beside ggml's and bitsandbytes': one thread, the same machine, in turn.
#
#   bench/peers/quantizers/compare.sh [--viva PATH] [--values N] [--rounds N]
#
# Builds ggml (ggml.sh) and takes bitsandbytes from the virtual environment of tests/engines. Prints the median over the rounds in 1e9
# values/s and how many times as fast viva is, then one JSON line a row.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
viva=$root/build/dev/cli/viva values=$((32 << 20)) rounds=3

while [[ $# -gt 0 ]]; do
  case $1 in
    --viva) viva=$(realpath "$2") ;;
    --values) values=$2 ;;
    --rounds) rounds=$2 ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

source "$root/bench/peers/ggml.sh"
build_ggml "$root"
venv=$root/build/engines/venv
ggml_bench=$root/build/peers/ggml_bench
compile_with_ggml "$here/ggml_bench.c" "$ggml_bench"

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
for ((round = 0; round < rounds; ++round)); do
  for method in q8_0 q4_0 q4_1 q5_0 q5_1 mxfp4-ggml nvfp4-ggml nf4 nf4-dq llm-int8; do
    "$viva" bench kernels -m "$method" --values "$values" --repetitions 5 --json "$out/lines" >/dev/null
    cat "$out/lines" >>"$out/viva"
  done
  taskset -c 0 "$ggml_bench" "$values" 5 >>"$out/peers"
  taskset -c 0 "$venv/bin/python" "$here/bitsandbytes_bench.py" "$values" 5 >>"$out/peers"
done

python3 - "$out" "$rounds" <<'PYTHON'
import json, pathlib, statistics, sys
out, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
lines = lambda name: [json.loads(line) for line in (out / name).read_text().splitlines()]
ours, peers = {}, {}
for row in lines("viva"):
    # The first line of a case is the best instruction set; one restricted to AVX2 may follow.
    if row.get("path") == "simd":
        ours.setdefault((row["method"], row["op"]), {}).setdefault(row["isa"], []).append(row["values_per_s"])
for row in lines("peers"):
    peers.setdefault((row["method"], row["op"], row["peer"]), []).append(row["values_per_s"])
print(f"{'method':<12}{'op':<8}{'peer':<22}{'peer':>8}{'viva':>8}{'times':>8}   (1e9 values/s)")
rows = []
for (method, op, peer), speeds in peers.items():
    best = max(statistics.median(each) for each in ours[method, op].values())
    theirs = statistics.median(speeds)
    print(f"{method:<12}{op:<8}{peer:<22}{theirs / 1e9:>8.3f}{best / 1e9:>8.2f}{best / theirs:>8.1f}")
    rows.append({"method": method, "op": op, "peer": peer, "peer_values_per_s": theirs, "viva_values_per_s": best,
                 "times": best / theirs, "rounds": rounds})
for row in rows:
    print(json.dumps(row))
PYTHON
