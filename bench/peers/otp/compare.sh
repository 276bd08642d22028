#!/usr/bin/env bash
# Supervision here beside Erlang/OTP: both programs measure the same, in turn, ROUNDS times.
#
#   bench/peers/otp/compare.sh [--rounds 3] [--viva PATH] [--only METRIC]
#
# Needs Debian's erlang-base. Prints medians over the rounds, then one JSON line a metric; `ratio` is ours over
# OTP's, of times and of rates alike: below 1 is faster for a time, above 1 for a rate.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
rounds=3 viva=$root/build/dev/cli/viva only=

while [[ $# -gt 0 ]]; do
  case $1 in
    --rounds) rounds=$2 ;;
    --viva) viva=$(realpath "$2") ;;
    --only) only=$2 ;;
    *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift 2
done
command -v erlc >/dev/null || { echo "compare.sh: no erlc; apt-get install erlang-base" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
erlc -o "$work" "$here/supervision_bench.erl"
for ((round = 0; round < rounds; ++round)); do
  "$viva" bench supervision --json ${only:+--only "$only"} >>"$work/viva"
  erl -noshell -pa "$work" -run supervision_bench main "$only" >>"$work/otp"
done

python3 - "$work" "$rounds" "$(nproc)" <<'PYTHON'
import json, pathlib, statistics, sys
work, rounds, cores = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
def read(name):
    rows = {}
    for line in (work / name).read_text().splitlines():
        row = json.loads(line)
        for key in ("median_us", "p99_us", "per_s"):
            if key in row:
                rows.setdefault((row["metric"], key), []).append(row[key])
    return {key: statistics.median(values) for key, values in rows.items()}
ours, otp = read("viva"), read("otp")
print(f"{'metric':<28}{'what':<11}{'viva':>14}{'OTP':>14}{'ratio':>8}")
rows = []
for metric, what in ours:
    if (metric, what) not in otp:
        continue
    a, b = ours[metric, what], otp[metric, what]
    print(f"{metric:<28}{what:<11}{a:>14,.2f}{b:>14,.2f}{a / b:>8.2f}")
    rows.append({"metric": metric, "what": what, "viva": a, "otp": b, "ratio": a / b, "rounds": rounds, "cores": cores})
for row in rows:
    print(json.dumps(row))
PYTHON
