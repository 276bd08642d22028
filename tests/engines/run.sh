#!/usr/bin/env bash
# Files written by viva, loaded by the engines they are written for (engines.py says what is checked).
#
#   tests/engines/run.sh [VIVA] [METHOD…]
#
# Makes a virtual environment once under build/engines: 5 GiB of packages, so this is a command of its own
# and no part of `./bootstrap test`. The last line is "N passed, N failed".
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
viva=$(realpath "${1:-$root/build/dev/cli/viva}")
[[ $# -gt 0 ]] && shift
work=$root/build/engines
venv=$work/venv

mkdir -p "$work"
if ! cmp -s "$root/tests/engines/requirements.txt" "$venv/complete"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$root/tests/engines/requirements.txt"
  # AutoAWQ is archived and does not import beside these; one file of it decodes its layout.
  "$venv/bin/pip" download --quiet --disable-pip-version-check --no-deps -d "$work/autoawq" autoawq==0.2.9
  cp "$root/tests/engines/requirements.txt" "$venv/complete"
fi
exec "$venv/bin/python" "$root/tests/engines/engines.py" "$viva" "$work" "$@"
