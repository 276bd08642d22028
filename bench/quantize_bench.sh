#!/usr/bin/env bash
# Throughput of `viva quantize` beside a durable copy of the same files.
#
#   bench/quantize_bench.sh [--size 4GiB] [--rounds 5] [--lanes 2] [--viva PATH] [--dir FOLDER]
#
# Method: one bf16 checkpoint, read once so that it lies in the page cache. A round runs, in turn, `cp -r`
# followed by `sync -f`, then every method; each output is removed and synced before the next run, outside
# the clock. `viva` makes its output durable itself. Prints a table, then one JSON line a case: seconds are
# medians of the rounds with their median absolute deviation, `ratio` is the median over the copy's.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
size=4GiB rounds=5 lanes=2 viva=$root/build/dev/cli/viva dir=$root/build/bench
methods=(int8 nf4)

while [[ $# -gt 0 ]]; do
  case $1 in
    --size) size=$2 ;;
    --rounds) rounds=$2 ;;
    --lanes) lanes=$2 ;;
    --viva) viva=$(realpath "$2") ;;
    --dir) dir=$2 ;;
    *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done

mkdir -p "$dir"
source=$dir/llama-$size
output=$dir/output
[[ -f $source/config.json ]] || "$viva" synth "$source" --size "$size" --shards 2
bytes=$(du -sb "$source" | cut -f1)

clear_output() { rm -rf "$output"*; sync -f "$dir"; }

timed() { # CASE COMMAND…: appends seconds to times/CASE
  local case=$1 begin end
  shift
  clear_output
  cat "$source"/* >/dev/null # into the page cache, should something have pushed it out
  begin=$(date +%s%N)
  "$@" >/dev/null
  end=$(date +%s%N)
  awk -v ns=$((end - begin)) 'BEGIN {printf "%.4f\n", ns / 1e9}' >>"$times/$case"
}

copy() { cp -r "$source" "$output" && sync -f "$output"; }
quantize() { "$viva" quantize "$source" -m "$1" -o "$output" --lanes "$lanes" --no-progress; }

times=$(mktemp -d)
trap 'rm -rf "$times"; rm -rf "$output"*' EXIT
for ((round = 0; round < rounds; ++round)); do
  timed copy copy
  for method in "${methods[@]}"; do timed "$method" quantize "$method"; done
done

python3 - "$times" "$bytes" "$lanes" "$("$viva" info --json)" "${methods[@]}" <<'PYTHON'
import json, pathlib, statistics, sys
folder, size, lanes, info, *methods = sys.argv[1:]
info = json.loads(info)
cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "")
def seconds(case):
    return [float(x) for x in pathlib.Path(folder, case).read_text().split()]
copy = statistics.median(seconds("copy"))
print(f"{'case':<8}{'median s':>10}{'MAD s':>8}{'min s':>8}{'GB/s':>8}{'x copy':>8}")
rows = []
for case in ["copy", *methods]:
    all_seconds = seconds(case)
    median = statistics.median(all_seconds)
    mad = statistics.median(abs(x - median) for x in all_seconds)
    rate = int(size) / median / 1e9
    print(f"{case:<8}{median:>10.2f}{mad:>8.2f}{min(all_seconds):>8.2f}{rate:>8.2f}{median / copy:>8.2f}")
    rows.append({"case": case, "median_s": median, "mad_s": mad, "seconds": all_seconds, "source_bytes": int(size),
                 "source_gb_per_s": rate, "ratio": median / copy, "lanes": int(lanes), "cpu": cpu,
                 "isa": info["isa"], "compiler": info["compiler"], "commit": info["commit"]})
for row in rows:
    print(json.dumps(row))
PYTHON
