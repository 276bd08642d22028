#!/usr/bin/env bash
# Checks the path cuda on a machine with a device, and measures it.
#
#   bench/gpu.sh --out FOLDER              build what is missing here, check, measure
#   bench/gpu.sh --pack FOLDER             build here, without a device, and put programs, their
#                                          libraries and this script into FOLDER, to be carried
#   FOLDER/gpu.sh --out FOLDER             the same checks with what was carried: no compiler needed
#
# Into --out go gpu.json (one line for each measurement), gpu.md (the table) and the log of each
# check. Ends with 0 where every check holds, 1 where one does not, 3 where there is no device.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=(bench/viva_device_bench tests/kernels/viva_kernels_tests cli/viva)

die() { printf 'gpu.sh: %s\n' "$1" >&2; exit "${2:-2}"; }
say() { printf '\n== %s\n' "$*" >&2; }

build() { # sets `built`, the folder of programs
  local root=$here/.. preset=release
  command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]] \
    || die "no nvcc here: carry programs from a machine that has one (bench/gpu.sh --pack FOLDER)"
  built=$root/build/$preset
  say "building ($preset)"
  (cd "$root" && cmake --preset "$preset" >/dev/null \
    && cmake --build "$built" --target viva_device_bench viva_kernels_tests viva)
}

pack() { # FOLDER
  build
  mkdir -p "$1/lib"
  local program
  for program in "${programs[@]}"; do
    cp "$built/$program" "$1/"
    # Libraries and the loader, since the other machine may have older ones.
    ldd "$built/$program" | grep -o '/[^ ]*' | xargs -I{} cp -L {} "$1/lib/"
  done
  cp "${BASH_SOURCE[0]}" "$1/gpu.sh"
  say "packed: carry $1 and run gpu.sh --out FOLDER there"
}

# run PROGRAM WORDS…: what was carried goes with its own loader and libraries.
run() {
  local program=$1
  shift
  if [[ -d $here/lib ]]; then
    local loader=("$here"/lib/ld-linux*)
    "${loader[0]}" --library-path "$here/lib:${LD_LIBRARY_PATH:-}" \
      "$here/$(basename "$program")" "$@"
  else
    "$built/$program" "$@"
  fi
}

failed=0
passed=0

# check NAME WANTED COMMAND…: its exit code must be WANTED.
check() {
  local name=$1 wanted=$2 code=0
  shift 2
  say "$name"
  "$@" >"$out/$name.log" 2>&1 || code=$?
  tail -n 3 "$out/$name.log" >&2
  if [[ $code == "$wanted" ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf '%s: exit %s instead of %s, see %s\n' "$name" "$code" "$wanted" "$out/$name.log" >&2
  fi
}

# lanes METHOD MORE…: a checkpoint by the processor alone and with devices beside it, byte by byte.
lanes() {
  local method=$1 work
  shift
  work=$(mktemp -d)
  viva synth "$work/source" --size 256MiB \
    && viva quantize "$work/source" -m "$method" -o "$work/cpu" \
    && viva quantize "$work/source" -m "$method" -o "$work/cuda" \
      --backend cuda --lanes 1 --report "$work/report.json" "$@" \
    && diff -r "$work/cpu" "$work/cuda" && worked_on_device "$work/report.json"
  local code=$?
  rm -rf "$work"
  return $code
}

# Starts itself for each lane, so the loader that was carried cannot stand in front of it.
viva() {
  if [[ -d $here/lib ]]; then
    LD_LIBRARY_PATH="$here/lib:${LD_LIBRARY_PATH:-}" "$here/viva" "$@"
  else
    "$built/${programs[2]}" "$@"
  fi
}

# A job may end before a slow device is ready; then nothing was shown.
worked_on_device() { # REPORT
  grep -A 8 '"cuda-0"' "$1" | grep -q '"shards": [1-9]' || {
    echo "the lane cuda-0 did no shard"
    return 1
  }
}

sanitize() { # TOOL; on small sizes, for it is a hundred times slower
  local tool
  tool=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  if [[ ! -x $tool || -d $here/lib ]]; then
    printf 'skipped: compute-sanitizer %s needs the CUDA toolkit and programs built here\n' "$1" >&2
    return
  fi
  check "sanitizer-$1" 0 "$tool" --tool "$1" --error-exitcode 9 \
    "$built/bench/viva_device_bench" check --values 65536
}

main() {
  out=
  built=
  while [[ $# -gt 0 ]]; do
    case $1 in
      --out) out=${2:?--out wants a folder}; shift 2 ;;
      --pack) pack "${2:?--pack wants a folder}"; exit ;;
      *) die "unknown: $1; say --out FOLDER, or --pack FOLDER" ;;
    esac
  done
  [[ -n $out ]] || die "say where results go: --out FOLDER"
  compgen -G '/dev/nvidia[0-9]*' >/dev/null || [[ -e /dev/dxg ]] \
    || die "no NVIDIA device is here (no /dev/nvidia0): run this where one is; nothing was checked" 3
  [[ -d $here/lib ]] || build
  mkdir -p "$out"
  out=$(cd "$out" && pwd)
  check methods 0 run "${programs[1]}" '[cuda]'
  if grep -q 'skipped:' "$out/methods.log"; then
    die "$(grep -m 1 'skipped:' "$out/methods.log")" 3
  fi
  check values-64Mi 0 run "${programs[0]}" check
  check attention 0 run "${programs[0]}" attention
  if viva --version >"$out/viva.log" 2>&1; then
    check lanes-nf4 0 lanes nf4
    check lanes-fp8-tensor 0 lanes fp8-tensor
    check lanes-sticky 0 lanes nf4 --allow-faults --fault sticky-at=5
  else
    printf 'skipped: lanes: the program that was carried does not run by this machine'"'"'s loader\n' >&2
  fi
  check out-of-memory 0 run "${programs[0]}" memory
  check sticky 71 run "${programs[0]}" sticky
  sanitize memcheck
  sanitize racecheck
  say "speed"
  if run "${programs[0]}" speed >"$out/gpu.json" 2>"$out/gpu.md"; then
    cat "$out/gpu.md" >&2
  else
    failed=$((failed + 1))
    cat "$out/gpu.md" >&2
  fi
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [[ $failed == 0 ]]
}

main "$@"
