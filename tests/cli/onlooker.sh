#!/usr/bin/env bash
# `viva tree` and `viva status` beside a job that runs, is killed, and is resumed.
#
#   tests/cli/onlooker.sh VIVA
set -euo pipefail
viva=$(realpath "$1")
work=$(mktemp -d)
trap 'kill -9 "${job:-0}" 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"

fail() { echo "onlooker: $*" >&2; exit 1; }
# Lanes that die and come back make the job last, so that there is something to look at.
quantize() {
  exec "$viva" quantize source -m nf4 -o out --lanes 1 --shard-bytes 1MiB --no-progress \
    --log-level off --allow-faults --fault throw-every=4
}

"$viva" synth source --size 192MiB >/dev/null
"$viva" status out >/dev/null 2>&1 && fail "status of a job that never was"

seen=
for _ in 1 2 3 4 5; do
  rm -rf out out.*
  quantize >/dev/null &
  job=$!
  while kill -0 "$job" 2>/dev/null; do
    # A durable shard first, so that the kill leaves something to tell.
    if "$viva" tree out --json >tree.json 2>/dev/null && "$viva" status out --json >status.json 2>/dev/null \
        && grep -q '"shards_durable": [1-9]' status.json; then
      kill -9 "$job"
      seen=yes
      break # tree.json is of the living job
    fi
  done
  wait "$job" 2>/dev/null || true
  [[ -n $seen && -e out.journal ]] && break
done
[[ -n $seen ]] || fail "no job was ever seen at work"

python3 - "$job" <<'PYTHON' || fail "the tree is not the job's: $(cat tree.json)"
import json, sys
(job,) = json.load(open("tree.json"))
assert job["pid"] == int(sys.argv[1]) and job["job"] == "quantize" and job["shards_total"] > 100
(root,) = job["tree"]
children = {child["id"]: child for child in root["children"]}
assert list(children) == ["journal", "lanes", "jobs", "meters"], list(children)
assert children["meters"]["children"][0]["id"] == "collector", children["meters"]
lane = children["lanes"]["children"][0]
assert lane["id"] == "lane-0" and lane["restarts"] >= 0, lane
assert lane["state"] != "up" or (lane["pid"] > 0 and lane["mailbox"] is not None), lane
assert lane["state"] != "up" or lane["process"] > 0, lane
assert children["lanes"]["process"] is None, children["lanes"]
assert children["jobs"]["children"][0]["id"] == "conductor"
PYTHON

"$viva" tree out >/dev/null 2>&1 && fail "a dead job has a tree"
"$viva" status out | grep -q "out: interrupted" || fail "a killed job is not interrupted: $("$viva" status out)"
"$viva" status out | grep -q "run the same command again" || fail "no word on what to do next"
(quantize) >report
grep -qi "resumed" report || fail "the second run resumed nothing: $(cat report)"
"$viva" status out | grep -q "out: done" || fail "a finished job is not done"
echo "onlooker: passed"
