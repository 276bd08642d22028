#!/usr/bin/env bash
# Attention here beside ggml's and PyTorch's: four heads, one thread, the same machine, in turn.
#
#   bench/peers/attention/compare.sh [--viva PATH] [--rounds N] [-d D] [-n 'N…'] [--ggml SOURCE LIBRARIES] [--python PATH]
#
# ggml is built by ggml.sh or, with --ggml, a build of yours: its source, and the folder of its libraries. PyTorch is
# that of --python, else of the virtual environment of tests/engines. What is not there is skipped, and said. Prints
# the median over the rounds in GFLOP/s and how many times as fast viva is on k and v of the same type (ggml's f16 beside
# viva's f32: what each takes by default), then one JSON line a row. One query meets 256 MiB of k and v of f32.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
viva=$root/build/dev/cli/viva rounds=3 head_size=128 lengths='512 2048'
python=$root/build/engines/venv/bin/python ggml_source='' ggml_libraries=''

while [[ $# -gt 0 ]]; do
  case $1 in
    --viva) viva=$(realpath "$2") ;;
    --rounds) rounds=$2 ;;
    -d) head_size=$2 ;;
    -n) lengths=$2 ;;
    --python) python=$2 ;;
    --ggml) ggml_source=$2 ggml_libraries=$(realpath "$3"); shift ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

source "$root/bench/peers/ggml.sh"
ggml='' torch=''
if [[ -n $ggml_source || -f $root/build/engines/venv/complete ]]; then
  [[ -n $ggml_source ]] || build_ggml "$root"
  mkdir -p "$root/build/peers"
  ggml=$root/build/peers/ggml_attention
  compile_with_ggml "$here/ggml_attention.c" "$ggml"
else
  echo "skipped: ggml (neither --ggml nor the environment of tests/engines/run.sh)" >&2
fi
if "$python" -c 'import torch' 2>/dev/null; then torch=yes; else echo "skipped: PyTorch ($python cannot import torch)" >&2; fi

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
touch "$out/peers"
for ((round = 0; round < rounds; ++round)); do
  # shellcheck disable=SC2086 # lengths are words
  "$viva" bench attention -n $lengths -d "$head_size" --dtype f32 bf16 --kv q8_0 --threads 1 --repetitions 3 \
    --json >>"$out/viva"
  # shellcheck disable=SC2086
  [[ -z $ggml ]] || taskset -c 0 "$ggml" "$head_size" 3 $lengths >>"$out/peers"
  # shellcheck disable=SC2086
  [[ -z $torch ]] || taskset -c 0 "$python" "$here/torch_attention.py" "$head_size" 3 $lengths >>"$out/peers"
done

python3 - "$out" "$rounds" <<'PYTHON'
import json, pathlib, statistics, sys
out, rounds = pathlib.Path(sys.argv[1]), int(sys.argv[2])
lines = lambda name: [json.loads(line) for line in (out / name).read_text().splitlines() if line.startswith("{")]
key = lambda row: (row["kv"], row["n"], row["queries"], row["causal"])
ours, peers = {}, {}
for row in lines("viva"):
    if row.get("op", "attention") == "attention":
        ours.setdefault(key(row), []).append(row["gflops"])
for row in lines("peers"):
    peers.setdefault((row["peer"], *key(row)), []).append(row["gflops"])
print(f"{'peer':<7}{'kv':<6}{'keys':>8}{'queries':>9}{'causal':>8}{'peer':>9}{'viva':>9}{'times':>7}   (GFLOP/s)")
rows = []
for (peer, kv, *case), speeds in peers.items():
    same = ours.get(("f32" if kv == "f16" else kv, *case))
    if not same:
        continue
    theirs, best = statistics.median(speeds), statistics.median(same)
    keys, queries, causal = case
    print(f"{peer:<7}{kv:<6}{keys:>8}{queries:>9}{'yes' if causal else 'no':>8}{theirs:>9.1f}{best:>9.1f}{best / theirs:>7.1f}")
    rows.append({"peer": peer, "kv": kv, "n": keys, "queries": queries, "causal": causal, "peer_gflops": theirs,
                 "viva_gflops": best, "times": best / theirs, "rounds": rounds})
for row in rows:
    print(json.dumps(row))
PYTHON
